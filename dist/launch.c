// See launch.h. One thread; everything that can happen arrives at one poll: output of the
// ranks, the end of a rank, signals.
#include "dist/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/arena.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "dist/rank.h"
#include "dist/rank_output.h"
#include "dist/shm_area.h"

enum { N_OWN_VARIABLES = 4 };
// After the first failure: the others are told, then asked, then killed.
static const double ASK_AFTER_S = 5.0, KILL_AFTER_S = 30.0;

extern char **environ;

// One started rank and the lines it writes (not of rank 0, which writes for itself).
typedef struct child {
    pid_t pid;
    bool has_ended;
    int wait_status;
    int output; // our end of its pipe, -1: none
    edt_rank_output lines;
} child;

typedef struct launch {
    int n;
    child *children;
    int area_fd, signal_fd;
    pid_t group;
    sigset_t old_mask;
    struct sigaction old_child_action;
    int first_failed; // rank, -1: none
    double failed_at_s;
    bool has_asked;
    bool is_interrupted; // by a signal that was passed on: ranks are expected to end
} launch;

bool edt_launch_is_rank(void)
{
    int rank, world_size;
    edt_error ignored;
    return edt_rank_from_environment(&rank, &world_size, &ignored) != EDT_OK || world_size > 1;
}

// The environment of a rank: ours, and what makes it that rank.
static edt_status make_environment(const edt_launch_options *o, int rank, int area_fd,
                                   edt_arena *arena, edt_error *err, char ***out_env)
{
    size_t n = 0;
    while (environ[n] != NULL) {
        ++n;
    }
    char **env = edt_arena_alloc(arena, (n + N_OWN_VARIABLES + 1) * sizeof *env);
    const int n_own = N_OWN_VARIABLES - (o->shares_devices ? 0 : 1);
    char *own[N_OWN_VARIABLES] = {
        edt_arena_printf(arena, "EDT_RANK=%d", rank),
        edt_arena_printf(arena, "EDT_WORLD_SIZE=%d", o->n_ranks),
        edt_arena_printf(arena, "EDT_COMM_FD=%d", area_fd),
        edt_arena_printf(arena, "NCCL_HOSTID=edt-rank-%d", rank),
    };
    if (env == NULL || own[0] == NULL || own[1] == NULL || own[2] == NULL || own[3] == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the environment of a rank");
    }
    size_t n_kept = 0;
    for (size_t i = 0; i < n; ++i) {
        bool is_replaced = false;
        for (int k = 0; k < n_own; ++k) {
            const size_t name_n = (size_t)(strchr(own[k], '=') - own[k]) + 1;
            is_replaced |= strncmp(environ[i], own[k], name_n) == 0;
        }
        if (!is_replaced) {
            env[n_kept++] = environ[i];
        }
    }
    memcpy(env + n_kept, own, (size_t)n_own * sizeof *own);
    env[n_kept + (size_t)n_own] = NULL;
    *out_env = env;
    return EDT_OK;
}

// In the child: nothing but calls that are safe after fork.
static void become_rank(const launch *l, int rank, pid_t supervisor, int output, char **argv,
                        char **env)
{
    (void)setpgid(0, l->group);
    // If the supervisor is killed the ranks end with a checkpoint.
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != supervisor) {
        _exit(1);
    }
    (void)sigprocmask(SIG_SETMASK, &l->old_mask, NULL);
    (void)fcntl(l->area_fd, F_SETFD, 0);
    if (rank > 0) {
        const int null_fd = open("/dev/null", O_RDONLY);
        (void)dup2(null_fd, STDIN_FILENO);
        (void)dup2(output, STDOUT_FILENO);
        (void)dup2(output, STDERR_FILENO);
    }
    (void)execve("/proc/self/exe", argv, env);
    _exit(127);
}

static edt_status start_rank(launch *l, const edt_launch_options *o, int rank, char **argv,
                             edt_arena *arena, edt_error *err)
{
    child *c = &l->children[rank];
    char **env = NULL;
    int ends[2] = {-1, -1};
    EDT_TRY(make_environment(o, rank, l->area_fd, arena, err, &env));
    if (rank > 0 && pipe2(ends, O_CLOEXEC) != 0) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "no pipe for rank %d", rank);
    }
    const pid_t supervisor = getpid();
    const pid_t pid = fork();
    if (pid == 0) {
        become_rank(l, rank, supervisor, ends[1], argv, env);
    }
    if (ends[1] >= 0) {
        (void)close(ends[1]);
    }
    if (pid < 0) {
        const int code = errno;
        (void)close(ends[0]);
        return edt_error_set_errno(err, EDT_ERR_IO, code, "cannot start rank %d of %d", rank,
                                   l->n);
    }
    // A group of their own, so that Ctrl-C reaches them once, through us.
    (void)setpgid(pid, l->group == 0 ? pid : l->group);
    l->group = l->group == 0 ? pid : l->group;
    c->pid = pid;
    c->output = ends[0];
    if (ends[0] >= 0) {
        (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    }
    return EDT_OK;
}

// Takes what a rank has written; closes its pipe at the end.
static void read_output(child *c)
{
    char bytes[4096];
    for (;;) {
        const ssize_t n = read(c->output, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            if (n == 0 || errno != EAGAIN) {
                (void)close(c->output);
                c->output = -1;
                edt_rank_output_end(&c->lines);
            }
            return;
        }
        edt_rank_output_take(&c->lines, bytes, (size_t)n);
    }
}

static bool has_failed(const child *c)
{
    return !(WIFEXITED(c->wait_status) && WEXITSTATUS(c->wait_status) == 0);
}

static void note_failure(launch *l, int rank)
{
    l->first_failed = rank;
    l->failed_at_s = edt_clock_now_s();
}

static void report_failure(launch *l, int rank)
{
    child *c = &l->children[rank];
    char what[160];
    if (WIFSIGNALED(c->wait_status)) {
        const int number = WTERMSIG(c->wait_status);
        (void)snprintf(what, sizeof what, "rank %d (process %d) was killed by signal %d (%s)",
                       rank, (int)c->pid, number, strsignal(number));
    } else {
        (void)snprintf(what, sizeof what, "rank %d (process %d) ended with exit code %d", rank,
                       (int)c->pid, WEXITSTATUS(c->wait_status));
    }
    if (c->output >= 0) {
        read_output(c);
    }
    EDT_ERROR("%s%s", what, c->lines.n_lines > 0 ? "; its last lines:" : "");
    for (int64_t back = EDT_RANK_LAST_LINES; back >= 1; --back) {
        const char *line = edt_rank_output_last(&c->lines, back);
        if (line != NULL) {
            (void)fprintf(stderr, "    %s\n", line);
        }
    }
    edt_error ignored;
    (void)edt_shm_area_post_abort(l->area_fd, what, &ignored);
    note_failure(l, rank);
}

static void reap(launch *l)
{
    for (int r = 0; r < l->n; ++r) {
        child *c = &l->children[r];
        if (!c->has_ended && c->pid > 0 &&
            waitpid(c->pid, &c->wait_status, WNOHANG) == c->pid) {
            c->has_ended = true;
            if (has_failed(c) && l->first_failed < 0) {
                if (l->is_interrupted && WIFEXITED(c->wait_status)) {
                    note_failure(l, r); // it has said so itself
                } else {
                    report_failure(l, r);
                }
            }
        }
    }
}

static void take_signals(launch *l)
{
    struct signalfd_siginfo info;
    while (read(l->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo != SIGCHLD) {
            l->is_interrupted = true;
            (void)kill(-l->group, (int)info.ssi_signo);
        }
    }
}

static bool all_ended(const launch *l)
{
    for (int r = 0; r < l->n; ++r) {
        if (!l->children[r].has_ended) {
            return false;
        }
    }
    return true;
}

// Sees to it that the others end after a failure; milliseconds until it wants to look again.
static int press_on(launch *l)
{
    const double gone_s = edt_clock_now_s() - l->failed_at_s;
    if (gone_s >= KILL_AFTER_S) {
        (void)kill(-l->group, SIGKILL);
        return 1000;
    }
    if (gone_s >= ASK_AFTER_S && !l->has_asked) {
        (void)kill(-l->group, SIGTERM);
        l->has_asked = true;
    }
    return (int)(((l->has_asked ? KILL_AFTER_S : ASK_AFTER_S) - gone_s) * 1000.0) + 1;
}

static edt_status look_after(launch *l, edt_arena *arena, edt_error *err)
{
    struct pollfd *polled = edt_arena_alloc(arena, (size_t)(l->n + 1) * sizeof *polled);
    if (polled == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %d ranks", l->n);
    }
    for (;;) {
        reap(l);
        if (all_ended(l)) {
            break;
        }
        int wait_ms = -1;
        if (l->first_failed >= 0) {
            wait_ms = press_on(l);
        }
        polled[l->n] = (struct pollfd){.fd = l->signal_fd, .events = POLLIN};
        for (int r = 0; r < l->n; ++r) {
            polled[r] = (struct pollfd){.fd = l->children[r].output, .events = POLLIN};
        }
        if (poll(polled, (nfds_t)(l->n + 1), wait_ms) < 0 && errno != EINTR) {
            return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot wait for the ranks");
        }
        for (int r = 0; r < l->n; ++r) {
            if (l->children[r].output >= 0 && polled[r].revents != 0) {
                read_output(&l->children[r]);
            }
        }
        take_signals(l);
    }
    for (int r = 0; r < l->n; ++r) {
        if (l->children[r].output >= 0) {
            read_output(&l->children[r]);
        }
    }
    return EDT_OK;
}

static void deinit(launch *l)
{
    for (int r = 0; r < l->n && l->children != NULL; ++r) {
        child *c = &l->children[r];
        if (c->pid > 0 && !c->has_ended) {
            (void)kill(c->pid, SIGKILL);
            (void)waitpid(c->pid, &c->wait_status, 0);
        }
        if (c->output >= 0) {
            (void)close(c->output);
        }
    }
    if (l->signal_fd >= 0) {
        (void)close(l->signal_fd);
        (void)sigaction(SIGCHLD, &l->old_child_action, NULL);
        (void)sigprocmask(SIG_SETMASK, &l->old_mask, NULL);
    }
    if (l->area_fd >= 0) {
        (void)close(l->area_fd);
    }
    edt_mem_free(l->children);
}

static edt_status catch_signals(launch *l, edt_error *err)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &mask, &l->old_mask) != 0) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot block signals");
    }
    l->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (l->signal_fd < 0) {
        const int code = errno;
        (void)sigprocmask(SIG_SETMASK, &l->old_mask, NULL);
        return edt_error_set_errno(err, EDT_ERR_IO, code, "cannot read signals");
    }
    // Who started us may have had it ignored: children would leave no word of how they ended.
    const struct sigaction action = {.sa_handler = SIG_DFL};
    (void)sigaction(SIGCHLD, &action, &l->old_child_action);
    return EDT_OK;
}

edt_status edt_launch_run(const edt_launch_options *options, char **argv, edt_error *err,
                          int *out_exit_code)
{
    edt_status status = EDT_OK;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    launch l = {.area_fd = -1, .signal_fd = -1, .first_failed = -1};
    EDT_TRY_GOTO(edt_shm_area_create(options->n_ranks, err, &l.area_fd));
    l.children = edt_mem_calloc(EDT_MEM_MISC, (size_t)options->n_ranks, sizeof *l.children);
    if (l.children == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for %d ranks", options->n_ranks);
        goto fail;
    }
    l.n = options->n_ranks;
    for (int r = 0; r < l.n; ++r) {
        l.children[r].output = -1;
        l.children[r].lines.rank = r;
        l.children[r].lines.to_fd = STDERR_FILENO;
    }
    EDT_TRY_GOTO(catch_signals(&l, err));
    (void)fflush(NULL);
    for (int r = 0; r < l.n; ++r) {
        EDT_TRY_GOTO(start_rank(&l, options, r, argv, &arena, err));
    }
    EDT_TRY_GOTO(look_after(&l, &arena, err));
    *out_exit_code = 0;
    if (l.first_failed >= 0) {
        const int ended = l.children[l.first_failed].wait_status;
        *out_exit_code = WIFEXITED(ended) ? WEXITSTATUS(ended) : 1;
    }
fail:
    deinit(&l);
    edt_arena_deinit(&arena);
    return status;
}
