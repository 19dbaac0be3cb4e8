// See rank_output.h.
#include "dist/rank_output.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PREFIX_BYTES = 32 }; // in front of the line's bytes

static void write_all(int fd, const char *bytes, size_t n_bytes)
{
    while (n_bytes > 0) {
        const ssize_t n = write(fd, bytes, n_bytes);
        if (n > 0) {
            bytes += n;
            n_bytes -= (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            struct pollfd ready = {.fd = fd, .events = POLLOUT};
            (void)poll(&ready, 1, -1);
        } else if (n == 0 || errno != EINTR) {
            return; // nobody listens
        }
    }
}

static void keep(edt_rank_output *o, const char *text)
{
    static const char cut[] = " [...]";
    char *last = o->last[o->n_lines++ % EDT_RANK_LAST_LINES];
    if (o->n < EDT_RANK_LAST_LINE_BYTES) {
        memcpy(last, text, o->n);
        last[o->n] = '\0';
    } else {
        memcpy(last, text, EDT_RANK_LAST_LINE_BYTES - sizeof cut);
        memcpy(last + EDT_RANK_LAST_LINE_BYTES - sizeof cut, cut, sizeof cut);
    }
}

static void end_line(edt_rank_output *o)
{
    char prefix[PREFIX_BYTES];
    const size_t n_prefix = (size_t)snprintf(prefix, sizeof prefix, "[rank %d] ", o->rank);
    char *text = o->line + PREFIX_BYTES;
    memcpy(text - n_prefix, prefix, n_prefix);
    text[o->n] = '\n';
    write_all(o->to_fd, text - n_prefix, n_prefix + o->n + 1);
    keep(o, text);
    o->n = 0;
}

void edt_rank_output_take(edt_rank_output *o, const char *bytes, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; ++i) {
        if (bytes[i] == '\n' || o->n == EDT_RANK_LINE_BYTES) {
            end_line(o);
        }
        if (bytes[i] != '\n' && bytes[i] != '\r') {
            o->line[PREFIX_BYTES + o->n++] = bytes[i];
        }
    }
}

void edt_rank_output_end(edt_rank_output *o)
{
    if (o->n > 0) {
        end_line(o);
    }
}

const char *edt_rank_output_last(const edt_rank_output *o, int64_t back)
{
    return back >= 1 && back <= EDT_RANK_LAST_LINES && back <= o->n_lines
               ? o->last[(o->n_lines - back) % EDT_RANK_LAST_LINES]
               : NULL;
}
