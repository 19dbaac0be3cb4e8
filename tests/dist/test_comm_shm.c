// Collectives between forked processes over shared memory: values, order, progress beside the
// caller, and what happens when a rank is late, gives up, dies or does something else.
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/rng.h"
#include "dist/comm_host.h"
#include "tests/support/test_ranks.h"

// What rank r puts into element i of a sum: of changing size, so that another order of adding
// would round differently.
static float value_f32(int rank, int64_t i)
{
    edt_rng rng;
    edt_rng_init(&rng, 7, (uint64_t)rank, (uint64_t)i, 0);
    const float u = edt_rng_uniform_f32(&rng);
    return (u - 0.5F) * (i % 3 == 0 ? 1e6F : 1.0F) * (rank % 2 == 0 ? 1.0F : 1e-3F);
}

static int sums(edt_comm *comm, void *arg)
{
    (void)arg;
    static const int64_t sizes[] = {1, 15, 1000, 1024, 1025, 40001, (1 << 20) + 5};
    edt_error err = {0};
    const int world = edt_comm_world_size(comm), me = edt_comm_rank(comm);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; ++k) {
        const int64_t n = sizes[k];
        float *data = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *data);
        double *wide = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *wide);
        for (int64_t i = 0; i < n; ++i) {
            data[i] = value_f32(me, i);
            wide[i] = (double)value_f32(me, i) / 3.0;
        }
        TEST_RANK_ASSERT(edt_comm_all_reduce(comm, data, n, EDT_DTYPE_F32, &err) == EDT_OK);
        TEST_RANK_ASSERT(edt_comm_all_reduce(comm, wide, n, EDT_DTYPE_F64, &err) == EDT_OK);
        TEST_RANK_ASSERT(edt_comm_join(comm, &err) == EDT_OK);
        for (int64_t i = 0; i<n; i += n> 100000 ? 97 : 1) {
            float sum = value_f32(0, i);
            double wide_sum = (double)value_f32(0, i) / 3.0;
            for (int r = 1; r < world; ++r) {
                sum += value_f32(r, i);
                wide_sum += (double)value_f32(r, i) / 3.0;
            }
            TEST_RANK_ASSERT(memcmp(&data[i], &sum, sizeof sum) == 0);
            TEST_RANK_ASSERT(memcmp(&wide[i], &wide_sum, sizeof wide_sum) == 0);
        }
        edt_mem_free(data);
        edt_mem_free(wide);
    }
    return 0;
}

Test(comm_shm, sums_in_the_order_of_the_ranks_on_two_ranks, .timeout = 60)
{
    test_ranks_expect(2, sums, NULL);
}

Test(comm_shm, sums_in_the_order_of_the_ranks_on_three_and_four_ranks, .timeout = 60)
{
    test_ranks_expect(3, sums, NULL);
    test_ranks_expect(4, sums, NULL);
}

static int bytes(edt_comm *comm, void *arg)
{
    (void)arg;
    edt_error err = {0};
    const int world = edt_comm_world_size(comm), me = edt_comm_rank(comm);
    TEST_RANK_ASSERT(edt_comm_local_size(comm) == world && edt_comm_local_rank(comm) == me);
    TEST_RANK_ASSERT(edt_comm_host_name(comm, world - 1)[0] != '\0');
    for (int root = 0; root < world; ++root) {
        char text[5000];
        memset(text, me == root ? 'a' + root : '?', sizeof text);
        TEST_RANK_ASSERT(edt_comm_broadcast(comm, root, text, sizeof text, &err) == EDT_OK);
        TEST_RANK_ASSERT(text[0] == 'a' + root && text[4999] == 'a' + root);
    }
    TEST_RANK_ASSERT(edt_comm_barrier(comm, &err) == EDT_OK);
    for (int to_all = 0; to_all < 2; ++to_all) {
        // Rank r gives r * 3000 bytes: none on rank 0.
        uint8_t mine[64 * 3000];
        memset(mine, me, sizeof mine);
        edt_comm_parts parts;
        TEST_RANK_ASSERT(edt_comm_gather(comm, to_all != 0, mine, (size_t)me * 3000, &err,
                                         &parts) == EDT_OK);
        TEST_RANK_ASSERT((parts.data != NULL) == (to_all != 0 || me == 0));
        for (int r = 0; r < world && parts.data != NULL; ++r) {
            TEST_RANK_ASSERT(parts.begin[r + 1] - parts.begin[r] == (size_t)r * 3000);
            for (size_t i = parts.begin[r]; i < parts.begin[r + 1]; ++i) {
                TEST_RANK_ASSERT(parts.data[i] == r);
            }
        }
        edt_comm_parts_deinit(&parts);
    }
    return 0;
}

Test(comm_shm, broadcasts_meets_and_gathers_bytes, .timeout = 60)
{
    test_ranks_expect(2, bytes, NULL);
    test_ranks_expect(5, bytes, NULL);
}

// The caller does not join before it has seen the sums end: they went on beside it.
static int overlap(edt_comm *comm, void *arg)
{
    (void)arg;
    enum { N = 1 << 18, N_SUMS = 8 };
    edt_error err = {0};
    float *data = edt_mem_calloc(EDT_MEM_MISC, (size_t)N * N_SUMS, sizeof *data);
    const int64_t before = edt_comm_host_n_done(comm);
    for (int i = 0; i < N_SUMS; ++i) {
        data[i * N] = 1.0F;
        TEST_RANK_ASSERT(edt_comm_all_reduce(comm, data + i * N, N, EDT_DTYPE_F32, &err) ==
                         EDT_OK);
    }
    while (edt_comm_host_n_done(comm) < before + N_SUMS) {
        (void)usleep(100);
    }
    for (int i = 0; i < N_SUMS; ++i) {
        TEST_RANK_ASSERT(data[i * N] == (float)edt_comm_world_size(comm));
    }
    TEST_RANK_ASSERT(edt_comm_join(comm, &err) == EDT_OK);
    edt_mem_free(data);
    return 0;
}

Test(comm_shm, sums_end_without_the_caller, .timeout = 60)
{
    test_ranks_expect(2, overlap, NULL);
}

// The last rank is killed between two operations.
static int killed(edt_comm *comm, void *arg)
{
    (void)arg;
    edt_error err = {0};
    float first[3] = {0};
    TEST_RANK_ASSERT(edt_comm_all_reduce(comm, first, 3, EDT_DTYPE_F32, &err) == EDT_OK);
    TEST_RANK_ASSERT(edt_comm_join(comm, &err) == EDT_OK);
    if (edt_comm_rank(comm) == edt_comm_world_size(comm) - 1) {
        (void)raise(SIGKILL);
    }
    double sum = 0.0;
    TEST_RANK_ASSERT(edt_comm_all_reduce(comm, &sum, 1, EDT_DTYPE_F64, &err) == EDT_OK);
    TEST_RANK_ASSERT(edt_comm_join(comm, &err) == EDT_ERR_DEVICE);
    // Whoever's deadline passes first tells the other one.
    TEST_RANK_ASSERT(strstr(err.text, "for rank 2 on ") != NULL);
    TEST_RANK_ASSERT(strstr(err.text, "operation 1, sum of 3 f32") != NULL);
    TEST_RANK_ASSERT(edt_comm_barrier(comm, &err) == EDT_ERR_DEVICE); // it stays failed
    return 0;
}

Test(comm_shm, a_killed_rank_is_named_after_the_deadline, .timeout = 60)
{
    int codes[3];
    test_ranks_run(3, 0.5, killed, NULL, codes);
    cr_assert_eq(codes[0], 0);
    cr_assert_eq(codes[1], 0);
    cr_assert_eq(codes[2], 128 + SIGKILL);
}

// Rank 1 is through the first barrier when all others are through the meeting, but perhaps not
// yet through that barrier.
static int gives_up(edt_comm *comm, void *arg)
{
    (void)arg;
    edt_error err = {0};
    edt_status status = edt_comm_barrier(comm, &err);
    if (edt_comm_rank(comm) == 1) {
        TEST_RANK_ASSERT(status == EDT_OK);
        edt_comm_abort(comm, "no picture can be read");
        TEST_RANK_ASSERT(edt_comm_barrier(comm, &err) == EDT_ERR_CANCELLED);
        return 0;
    }
    if (status == EDT_OK) {
        status = edt_comm_barrier(comm, &err);
    }
    TEST_RANK_ASSERT(status == EDT_ERR_DEVICE);
    TEST_RANK_ASSERT(strstr(err.text, "rank 1 on ") != NULL);
    TEST_RANK_ASSERT(strstr(err.text, "gave up: no picture can be read") != NULL);
    return 0;
}

Test(comm_shm, a_rank_that_gives_up_tells_the_others_why, .timeout = 60)
{
    test_ranks_expect(4, gives_up, NULL);
}

// Rank 0 is inside a sum when another of its threads would abort: here, the destructor of a
// failed run, with nobody else coming.
static int abandons(edt_comm *comm, void *arg)
{
    (void)arg;
    edt_error err = {0};
    double sum = 0.0;
    if (edt_comm_rank(comm) == 0) {
        TEST_RANK_ASSERT(edt_comm_barrier(comm, &err) ==
                         EDT_OK); // the other one has met us, too
        TEST_RANK_ASSERT(edt_comm_all_reduce(comm, &sum, 1, EDT_DTYPE_F64, &err) == EDT_OK);
        edt_comm_abort(comm, "changed its mind");
        return 0;
    }
    while (edt_comm_barrier(comm, &err) == EDT_OK) {
    }
    return strstr(err.text, "changed its mind") != NULL || strstr(err.text, "different") != NULL
               ? 0
               : 1;
}

Test(comm_shm, an_abort_ends_a_sum_that_waits, .timeout = 60)
{
    test_ranks_expect(2, abandons, NULL);
}

static int disagrees(edt_comm *comm, void *arg)
{
    (void)arg;
    edt_error err = {0};
    float data[8] = {0};
    edt_status status =
        edt_comm_all_reduce(comm, data, edt_comm_rank(comm) == 0 ? 8 : 7, EDT_DTYPE_F32, &err);
    TEST_RANK_ASSERT(status == EDT_OK);
    TEST_RANK_ASSERT(edt_comm_join(comm, &err) == EDT_ERR_DEVICE);
    TEST_RANK_ASSERT(strstr(err.text, "different things") != NULL);
    return 0;
}

Test(comm_shm, ranks_that_do_different_things_are_told, .timeout = 60)
{
    test_ranks_expect(2, disagrees, NULL);
}

Test(comm_shm, one_rank_alone_needs_no_others, .timeout = 10)
{
    edt_error err = {0};
    edt_comm *comm;
    edt_comm_parts parts;
    float x = 3.0F;
    cr_assert_eq(edt_comm_self_create(&err, &comm), EDT_OK);
    cr_assert_eq(edt_comm_all_reduce(comm, &x, 1, EDT_DTYPE_F32, &err), EDT_OK);
    cr_assert_eq(edt_comm_join(comm, &err), EDT_OK);
    cr_assert_eq(x, 3.0F);
    cr_assert_eq(edt_comm_gather(comm, true, "abc", 3, &err, &parts), EDT_OK);
    cr_assert(parts.begin[1] == 3 && memcmp(parts.data, "abc", 3) == 0);
    edt_comm_parts_deinit(&parts);
    edt_comm_destroy(comm);
    cr_assert_eq(edt_comm_world_size(NULL), 1);
    cr_assert_eq(edt_comm_all_reduce(NULL, &x, 1, EDT_DTYPE_F32, &err), EDT_OK);
}
