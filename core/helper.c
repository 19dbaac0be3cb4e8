// See helper.h. The report is one byte for the status and the words of the error; an end of the
// pipe without it means that the helper died.
#include "core/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/plugin.h"

enum { REPORT_BYTES = EDT_ERROR_TEXT_BYTES + 1, LEAST_FD = 16 };

static const char status_base = 'A';

// Everything that is handed over lies above the numbers it shall get, so that giving one does
// not close another.
typedef struct handover {
    int report[2];
    int fds[EDT_HELPER_MAX_FDS];
} handover;

static void close_handover(handover *h)
{
    for (int i = 0; i < 2; ++i) {
        if (h->report[i] >= 0) {
            (void)close(h->report[i]);
        }
    }
    for (int i = 0; i < EDT_HELPER_MAX_FDS; ++i) {
        if (h->fds[i] >= 0) {
            (void)close(h->fds[i]);
        }
    }
    *h = (handover){{-1, -1}, {-1, -1}};
}

static edt_status open_handover(const edt_helper_call *call, edt_error *err, handover *h)
{
    *h = (handover){{-1, -1}, {-1, -1}};
    int ends[2];
    bool is_open = pipe2(ends, O_CLOEXEC) == 0;
    if (is_open) {
        h->report[0] = ends[0];
        h->report[1] = fcntl(ends[1], F_DUPFD_CLOEXEC, LEAST_FD);
        is_open = h->report[1] >= 0;
        (void)close(ends[1]);
    }
    for (int i = 0; is_open && i < call->n_fds; ++i) {
        h->fds[i] = fcntl(call->fds[i], F_DUPFD_CLOEXEC, LEAST_FD);
        is_open = h->fds[i] >= 0;
    }
    if (!is_open) {
        const edt_status status = edt_error_set_errno(
            err, EDT_ERR_IO, errno, "cannot make a pipe to %s", call->program);
        close_handover(h);
        return status;
    }
    return EDT_OK;
}

static int add_actions(posix_spawn_file_actions_t *actions, const edt_helper_call *call,
                       const handover *h)
{
    int code = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDWR, 0);
    for (int fd = 1; code == 0 && fd <= 2; ++fd) {
        code = posix_spawn_file_actions_adddup2(actions, 0, fd);
    }
    if (code == 0) {
        code = posix_spawn_file_actions_adddup2(actions, h->report[1], EDT_HELPER_REPORT_FD);
    }
    for (int i = 0; code == 0 && i < call->n_fds; ++i) {
        code = posix_spawn_file_actions_adddup2(actions, h->fds[i], EDT_HELPER_FIRST_FD + i);
    }
    // Whatever a library left open without close-on-exec.
    return code != 0 ? code
                     : posix_spawn_file_actions_addclosefrom_np(actions, EDT_HELPER_FIRST_FD +
                                                                             call->n_fds);
}

// A group of its own keeps the terminal's signals away; what this process blocks or ignores
// must not keep the helper alive.
static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int code = posix_spawnattr_setflags(
        attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (code == 0) {
        code = posix_spawnattr_setsigmask(attributes, &none);
    }
    if (code == 0) {
        code = posix_spawnattr_setsigdefault(attributes, &all);
    }
    return code;
}

static edt_status start(const edt_helper_call *call, const char *path, const handover *h,
                        edt_error *err, pid_t *out_pid)
{
    char *argv[EDT_HELPER_MAX_ARGS + 2] = {(char *)(uintptr_t)path};
    for (int i = 0; i < call->n_args; ++i) {
        argv[i + 1] = (char *)(uintptr_t)call->args[i];
    }
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int code = posix_spawn_file_actions_init(&actions);
    if (code != 0) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "cannot start %s: %s", path, strerror(code));
    }
    code = posix_spawnattr_init(&attributes);
    if (code == 0) {
        code = add_actions(&actions, call, h);
        if (code == 0) {
            code = set_attributes(&attributes);
        }
        if (code == 0) {
            code = posix_spawn(out_pid, path, &actions, &attributes, argv, environ);
        }
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    if (code != 0) {
        EDT_FAIL(err, EDT_ERR_IO, "cannot start %s: %s", path, strerror(code));
    }
    return EDT_OK;
}

// What arrives until the helper closes the pipe; false when the time is over first.
static bool receive(int fd, double deadline, char report[REPORT_BYTES], size_t *out_bytes)
{
    size_t n = 0;
    for (;;) {
        int wait_ms = -1;
        if (deadline > 0) {
            const double left = deadline - edt_clock_now_s();
            if (left <= 0) {
                return false;
            }
            wait_ms = left > 3600 ? 3600000 : (int)(left * 1e3) + 1;
        }
        struct pollfd wanted = {.fd = fd, .events = POLLIN};
        const int n_ready = poll(&wanted, 1, wait_ms);
        if (n_ready <= 0) {
            continue; // the clock decides, or an interrupted call
        }
        char surplus[256];
        char *to = n < REPORT_BYTES ? report + n : surplus;
        const ssize_t got = read(fd, to, n < REPORT_BYTES ? REPORT_BYTES - n : sizeof surplus);
        if (got > 0) {
            n += n < REPORT_BYTES ? (size_t)got : 0;
        } else if (got == 0 || errno != EINTR) {
            *out_bytes = n;
            return true;
        }
    }
}

static edt_status tell_death(edt_error *err, bool is_known, int ended)
{
    if (!is_known) {
        EDT_FAIL(err, EDT_ERR_CORRUPT, "ended without a report");
    }
    if (WIFSIGNALED(ended)) {
        const int number = WTERMSIG(ended);
        EDT_FAIL(err, EDT_ERR_CORRUPT, "killed by signal %d%s", number,
                 number == SIGXCPU   ? ", too much processor time"
                 : number == SIGXFSZ ? ", too much data"
                                     : "");
    }
    EDT_FAIL(err, EDT_ERR_CORRUPT, "ended with code %d and without a report",
             WEXITSTATUS(ended));
}

edt_status edt_helper_run(const edt_helper_call *call, edt_error *err, bool *out_died)
{
    char path[EDT_PLUGIN_PATH_BYTES];
    handover h;
    pid_t pid = -1;
    *out_died = false;
    EDT_TRY(edt_plugin_find(call->program, err, path));
    EDT_TRY(open_handover(call, err, &h));
    const edt_status status = start(call, path, &h, err, &pid);
    const int report_fd = h.report[0];
    h.report[0] = -1;
    close_handover(&h);
    if (status != EDT_OK) {
        (void)close(report_fd);
        return status;
    }
    char report[REPORT_BYTES];
    size_t n = 0;
    const double deadline = call->timeout_s > 0 ? edt_clock_now_s() + call->timeout_s : 0;
    const bool in_time = receive(report_fd, deadline, report, &n);
    (void)close(report_fd);
    if (!in_time) {
        (void)kill(pid, SIGKILL);
    }
    int ended = 0;
    pid_t waited;
    do {
        waited = waitpid(pid, &ended, 0);
    } while (waited < 0 && errno == EINTR);
    if (!in_time) {
        *out_died = true;
        EDT_FAIL(err, EDT_ERR_CORRUPT, "not done after %.0f s", call->timeout_s);
    }
    // Who ignores SIGCHLD is not told how its children end (waited < 0): the report has to do.
    const bool is_clean = waited < 0 || (WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
    const int told = n > 0 ? report[0] - status_base : -1;
    if (!is_clean || told < EDT_OK || told > EDT_ERR_INTERNAL) {
        *out_died = true;
        return tell_death(err, waited == pid, ended);
    }
    if (told == EDT_OK) {
        return EDT_OK;
    }
    // The words may quote what a damaged file holds.
    for (size_t i = 1; i < n; ++i) {
        if (report[i] < ' ' || report[i] > '~') {
            report[i] = '?';
        }
    }
    EDT_FAIL(err, (edt_status)told, "%.*s", (int)(n - 1), report + 1);
}

edt_status edt_helper_limit(unsigned cpu_s, uint64_t memory_bytes, uint64_t file_bytes,
                            edt_error *err)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    // What the process has mapped so far belongs to the C library and to sanitizers.
    unsigned long long pages[6] = {0};
    FILE *statm = fopen("/proc/self/statm", "re");
    const int n = statm == NULL ? 0
                                : fscanf(statm, "%llu %llu %llu %llu %llu %llu", &pages[0],
                                         &pages[1], &pages[2], &pages[3], &pages[4], &pages[5]);
    if (statm != NULL) {
        (void)fclose(statm);
    }
    if (n != 6) {
        EDT_FAIL(err, EDT_ERR_IO, "/proc/self/statm cannot be read");
    }
    const rlim_t has = (rlim_t)pages[5] * (rlim_t)sysconf(_SC_PAGESIZE);
    const struct {
        __rlimit_resource_t which;
        rlim_t most;
    } limits[] = {
        {RLIMIT_CORE, 0},
        {RLIMIT_CPU, cpu_s},
        {RLIMIT_DATA, has + memory_bytes},
        {RLIMIT_FSIZE, file_bytes},
    };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; ++i) {
        struct rlimit limit;
        if (limits[i].which == RLIMIT_FSIZE && file_bytes == 0) {
            continue;
        }
        if (getrlimit(limits[i].which, &limit) != 0) {
            return edt_error_set_errno(err, EDT_ERR_IO, errno, "getrlimit");
        }
        // The hard limit stays above the soft one of processor time: SIGXCPU tells the reason.
        if (limit.rlim_max == RLIM_INFINITY || limit.rlim_max > limits[i].most) {
            limit.rlim_cur = limits[i].most;
            limit.rlim_max =
                limits[i].which == RLIMIT_CPU ? limits[i].most + 1 : limits[i].most;
        } else {
            limit.rlim_cur = limit.rlim_max;
        }
        if (setrlimit(limits[i].which, &limit) != 0) {
            return edt_error_set_errno(err, EDT_ERR_IO, errno, "setrlimit");
        }
    }
    return EDT_OK;
}

_Noreturn void edt_helper_report(edt_status status, const edt_error *err)
{
    char report[REPORT_BYTES] = {(char)(status_base + (int)status)};
    size_t n = 1;
    if (status != EDT_OK && err != NULL) {
        const size_t n_text = strnlen(err->text, EDT_ERROR_TEXT_BYTES);
        memcpy(report + 1, err->text, n_text);
        n += n_text;
    }
    // Smaller than a pipe's atomic size: written whole or not at all.
    ssize_t written;
    do {
        written = write(EDT_HELPER_REPORT_FD, report, n);
    } while (written < 0 && errno == EINTR);
    _exit(written == (ssize_t)n ? 0 : 1);
}
