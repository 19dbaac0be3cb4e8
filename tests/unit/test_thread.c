#include <criterion/criterion.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

#include "core/mem.h"
#include "core/thread.h"

typedef struct seen {
    char name[16];
    bool is_interrupt_blocked;
} seen;

static void look_around(void *ctx)
{
    seen *s = ctx;
    sigset_t mask;
    pthread_getname_np(pthread_self(), s->name, sizeof s->name);
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    s->is_interrupt_blocked = sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM);
}

Test(thread, carries_its_name_and_leaves_interrupts_to_the_starter, .timeout = 10)
{
    edt_error err = {0};
    edt_thread thread = {0};
    seen s = {0};
    cr_assert_eq(edt_thread_start(&thread, "a-name-that-is-too-long", look_around, &s, &err),
                 EDT_OK, "%s", err.text);
    edt_thread_join(&thread);
    edt_thread_join(&thread);
    cr_assert_str_eq(s.name, "a-name-that-is-");
    cr_assert(s.is_interrupt_blocked);
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    cr_assert_not(sigismember(&mask, SIGINT));
    cr_assert_eq(edt_mem_get_stats(EDT_MEM_MISC).n_live, 0);
}

Test(thread, counts_the_processors_of_the_affinity_mask, .timeout = 10)
{
    const int n_cpus = edt_thread_cpu_count();
    cr_assert_geq(n_cpus, 1);
    cpu_set_t all;
    cpu_set_t one;
    cr_assert_eq(sched_getaffinity(0, sizeof all, &all), 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; ++i) {
        if (CPU_ISSET((size_t)i, &all)) {
            CPU_SET((size_t)i, &one);
            break;
        }
    }
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    cr_assert_eq(edt_thread_cpu_count(), 1);
}
