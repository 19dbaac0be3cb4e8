// Parsing by the option table and the text of --help; see cli.h.
#include "core/cli.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hparams.h"
#include "core/log.h"
#include "core/nearest.h"

#define N_COUNT(a) ((int)(sizeof(a) / sizeof(a)[0]))

enum { COLUMNS = 92, INDENT = 6 };

static const edt_cli_option common[] = {
    {"help", EDT_CLI_BOOL, NULL, "show this text and exit", .aliases = "h|helpfull|helpshort"},
    {"version", EDT_CLI_BOOL, NULL, .help = "show the version and exit"},
    {"log_level", EDT_CLI_TEXT, "info", "least important lines written to stderr",
     .choices = "debug|info|warning|error|quiet"},
};

static bool in_list(const char *list, const char *text, size_t n)
{
    for (const char *p = list; p != NULL;) {
        const size_t n_item = strcspn(p, "|");
        if (n_item == n && strncmp(p, text, n) == 0) {
            return true;
        }
        p = p[n_item] == '|' ? p + n_item + 1 : NULL;
    }
    return false;
}

static bool is_named(const edt_cli_option *option, const char *name, size_t n)
{
    return (strlen(option->name) == n && strncmp(option->name, name, n) == 0) ||
           (option->aliases != NULL && in_list(option->aliases, name, n));
}

static const edt_cli_option *option_at(const edt_cli_program *program, int i)
{
    if (i < program->n_options) {
        return &program->options[i];
    }
    i -= program->n_options;
    return i < N_COUNT(common) ? &common[i] : NULL;
}

static const edt_cli_option *find(const edt_cli_program *program, const char *name, size_t n)
{
    const edt_cli_option *option;
    for (int i = 0; (option = option_at(program, i)) != NULL; ++i) {
        if (is_named(option, name, n)) {
            return option;
        }
    }
    return NULL;
}

static const char *name_at(const void *ctx, int i)
{
    const edt_cli_option *option = option_at(ctx, i);
    return option == NULL ? NULL : option->name;
}

static edt_status refuse(const edt_cli_option *option, const char *value, edt_error *err)
{
    char allowed[512];
    size_t n = 0;
    switch (option->type) {
    case EDT_CLI_BOOL: (void)snprintf(allowed, sizeof allowed, "true, false, 1, 0"); break;
    case EDT_CLI_INT:
    case EDT_CLI_FLOAT:
        n = (size_t)snprintf(allowed, sizeof allowed, "%s",
                             option->type == EDT_CLI_INT ? "an integer" : "a number");
        if (option->lo != 0 || option->hi != 0) {
            (void)snprintf(allowed + n, sizeof allowed - n,
                           isinf(option->hi) || option->hi >= 9e15 ? " of at least %g"
                                                                   : " from %g to %g",
                           option->lo, option->hi);
        }
        break;
    default:
        allowed[0] = '\0';
        for (const char *p = option->choices; p != NULL;) {
            const size_t n_item = strcspn(p, "|");
            n += (size_t)snprintf(allowed + n, sizeof allowed - n, "%s%.*s", n > 0 ? ", " : "",
                                  n_item == 0 ? 2 : (int)n_item, n_item == 0 ? "''" : p);
            n = n < sizeof allowed ? n : sizeof allowed - 1;
            p = p[n_item] == '|' ? p + n_item + 1 : NULL;
        }
        break;
    }
    EDT_FAIL(err, EDT_ERR_USAGE, "--%s: '%.200s' is not allowed; allowed: %s", option->name,
             value, allowed);
}

static bool parse_bool(const char *value, bool *out_value)
{
    const bool yes = strcmp(value, "true") == 0 || strcmp(value, "True") == 0 ||
                     strcmp(value, "1") == 0 || strcmp(value, "t") == 0;
    const bool no = strcmp(value, "false") == 0 || strcmp(value, "False") == 0 ||
                    strcmp(value, "0") == 0 || strcmp(value, "f") == 0;
    *out_value = yes;
    return yes || no;
}

static bool in_range(const edt_cli_option *option, double x)
{
    return (option->lo == 0 && option->hi == 0) || (x >= option->lo && x <= option->hi);
}

static edt_status store_texts(const edt_cli_option *option, const char *value, edt_arena *arena,
                              edt_error *err)
{
    edt_cli_texts list = {0};
    char *copy = edt_arena_strdup(arena, value);
    size_t n = value[0] != '\0';
    for (const char *p = value; *p != '\0'; ++p) {
        n += *p == ',';
    }
    list.v = edt_arena_calloc(arena, n + 1, sizeof *list.v);
    if (copy == NULL || list.v == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for --%s", option->name);
    }
    while (list.n < (int)n) {
        const size_t n_item = strcspn(copy, ",");
        const bool last = copy[n_item] == '\0';
        copy[n_item] = '\0';
        if (option->choices != NULL && !in_list(option->choices, copy, n_item)) {
            return refuse(option, copy, err);
        }
        list.v[list.n++] = copy;
        copy += last ? 0 : n_item + 1;
    }
    *(edt_cli_texts *)option->target = list;
    return EDT_OK;
}

static edt_status store(const edt_cli_option *option, const char *value, edt_arena *arena,
                        edt_error *err)
{
    char *end;
    switch (option->type) {
    case EDT_CLI_BOOL: {
        bool b;
        if (!parse_bool(value, &b)) {
            return refuse(option, value, err);
        }
        *(bool *)option->target = b;
        return EDT_OK;
    }
    case EDT_CLI_INT: {
        errno = 0;
        const long long i = strtoll(value, &end, 10);
        if (errno != 0 || end == value || *end != '\0' || isspace((unsigned char)value[0]) ||
            !in_range(option, (double)i)) {
            return refuse(option, value, err);
        }
        *(int64_t *)option->target = i;
        return EDT_OK;
    }
    case EDT_CLI_FLOAT: {
        const double x = strtod(value, &end);
        if (end == value || *end != '\0' || isspace((unsigned char)value[0]) || !isfinite(x) ||
            !in_range(option, x)) {
            return refuse(option, value, err);
        }
        *(double *)option->target = x;
        return EDT_OK;
    }
    case EDT_CLI_TEXT:
        if (option->choices != NULL && !in_list(option->choices, value, strlen(value))) {
            return refuse(option, value, err);
        }
        *(const char **)option->target = value;
        return EDT_OK;
    case EDT_CLI_TEXTS: return store_texts(option, value, arena, err);
    case EDT_CLI_REFUSED: {
        bool b, standard;
        const char *harmless = option->default_text;
        const bool same =
            harmless != NULL &&
            (strcmp(value, harmless) == 0 ||
             (parse_bool(value, &b) && parse_bool(harmless, &standard) && b == standard));
        if (same) {
            return EDT_OK;
        }
        EDT_FAIL(err, EDT_ERR_USAGE, "--%s is not supported: %s", option->name, option->help);
    }
    }
    return EDT_ERR_INTERNAL;
}

static edt_status unknown_option(const edt_cli_program *program, const char *name, size_t n,
                                 edt_error *err)
{
    char text[96];
    (void)snprintf(text, sizeof text, "%.*s", (int)(n < 90 ? n : 90), name);
    const char *nearest = edt_nearest_name(text, name_at, program);
    EDT_FAIL(err, EDT_ERR_USAGE, "unknown option '--%s'%s%s%s; %s --help lists all", text,
             nearest != NULL ? "; did you mean --" : "", nearest != NULL ? nearest : "",
             nearest != NULL ? "?" : "", program->name);
}

static bool takes_value(const edt_cli_option *option)
{
    bool b;
    if (option->type == EDT_CLI_REFUSED) {
        return option->default_text != NULL && !parse_bool(option->default_text, &b);
    }
    return option->type != EDT_CLI_BOOL;
}

typedef struct state {
    const edt_cli_program *program;
    int argc;
    char *const *argv;
    int i;
    edt_arena *arena;
    bool help, version;
    const char *log_level;
} state;

static edt_status read_option(state *s, const char *arg, edt_error *err)
{
    const char *name = arg + 1 + (arg[1] == '-');
    const size_t n = strcspn(name, "=");
    const char *value = name[n] == '=' ? name + n + 1 : NULL;
    const edt_cli_option *option = find(s->program, name, n);
    if (option == NULL && n > 2 && name[0] == 'n' && name[1] == 'o') {
        option = find(s->program, name + 2, n - 2);
        if (option != NULL && takes_value(option)) {
            option = NULL;
        } else if (option != NULL && value != NULL) {
            EDT_FAIL(err, EDT_ERR_USAGE, "--no%s takes no value", option->name);
        }
        value = "false";
    }
    if (option == NULL) {
        return unknown_option(s->program, name, n, err);
    }
    if (value == NULL && !takes_value(option)) {
        value = "true";
    } else if (value == NULL) {
        if (s->i + 1 >= s->argc) {
            EDT_FAIL(err, EDT_ERR_USAGE, "--%s needs a value: --%s=...", option->name,
                     option->name);
        }
        value = s->argv[++s->i];
    }
    edt_cli_option bound = *option;
    if (option == &common[0]) {
        bound.target = &s->help;
    } else if (option == &common[1]) {
        bound.target = &s->version;
    } else if (option == &common[2]) {
        bound.target = &s->log_level;
    }
    EDT_TRY(store(&bound, value, s->arena, err));
    if (option->given != NULL) {
        *option->given = true;
    }
    return EDT_OK;
}

static edt_status check_arguments(const edt_cli_program *program,
                                  const edt_cli_texts *arguments, edt_error *err)
{
    if (arguments->n > 0 && (program->argument_target == NULL || program->max_arguments == 0)) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "unexpected argument '%.200s': options begin with --, and %s takes no others",
                 arguments->v[0], program->name);
    }
    if (program->argument_target != NULL &&
        (arguments->n < program->min_arguments || arguments->n > program->max_arguments)) {
        EDT_FAIL(err, EDT_ERR_USAGE, "%d arguments given; expected: %s %s", arguments->n,
                 program->name, program->arguments);
    }
    return EDT_OK;
}

edt_status edt_cli_parse(const edt_cli_program *program, int argc, char *const *argv,
                         edt_arena *arena, edt_error *err, bool *out_exit)
{
    state s = {.program = program, .argc = argc, .argv = argv, .arena = arena};
    for (int i = 0; i < program->n_options; ++i) {
        const edt_cli_option *option = &program->options[i];
        if (option->given != NULL) {
            *option->given = false;
        }
        if (option->default_text != NULL && option->type != EDT_CLI_REFUSED) {
            EDT_TRY(store(option, option->default_text, arena, err));
        }
    }
    edt_cli_texts arguments = {0};
    arguments.v = edt_arena_calloc(arena, (size_t)argc + 1, sizeof *arguments.v);
    if (arguments.v == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for the command line");
    }
    bool options_end = false;
    for (s.i = 1; s.i < argc; ++s.i) {
        const char *arg = argv[s.i];
        if (!options_end && strcmp(arg, "--") == 0) {
            options_end = true;
        } else if (!options_end && arg[0] == '-' && arg[1] != '\0' &&
                   !isdigit((unsigned char)arg[1])) {
            EDT_TRY(read_option(&s, arg, err));
        } else {
            arguments.v[arguments.n++] = arg;
        }
    }
    *out_exit = s.help || s.version;
    if (s.help) {
        edt_strbuf text = {0};
        edt_cli_help(program, &text);
        (void)fputs(text.text != NULL ? text.text : "", stdout);
        edt_strbuf_deinit(&text);
        return EDT_OK;
    }
    if (s.version) {
        (void)printf("%s %s\n", program->name, EDT_VERSION);
        return EDT_OK;
    }
    if (s.log_level != NULL) {
        edt_log_level level;
        EDT_TRY(edt_log_level_parse(s.log_level, err, &level));
        edt_log_set_level(level);
    }
    EDT_TRY(check_arguments(program, &arguments, err));
    if (program->argument_target != NULL) {
        *program->argument_target = arguments;
    }
    return EDT_OK;
}

// Words wrapped at COLUMNS, every line indented.
static void put_wrapped(edt_strbuf *out, const char *text, int indent)
{
    int column = 0;
    while (*text != '\0') {
        const size_t n = strcspn(text, " \n");
        if (column > 0 && column + 1 + (int)n > COLUMNS) {
            edt_strbuf_puts(out, "\n");
            column = 0;
        }
        if (n > 0) {
            edt_strbuf_printf(out, "%*s%.*s", column == 0 ? indent : 1, "", (int)n, text);
            column = (column == 0 ? indent : column + 1) + (int)n;
        }
        text += n;
        if (*text == '\n') {
            edt_strbuf_puts(out, "\n");
            column = 0;
        }
        text += *text != '\0';
    }
    if (column > 0) {
        edt_strbuf_puts(out, "\n");
    }
}

static void put_option(edt_strbuf *out, const edt_cli_option *option)
{
    static const char *const forms[] = {"", "=INT", "=NUMBER", "=TEXT", "=A,B,...", ""};
    const bool boolean = option->type == EDT_CLI_BOOL;
    edt_strbuf_printf(out, "  --%s%s%s", boolean && option->target != NULL ? "[no]" : "",
                      option->name, forms[option->type]);
    for (const char *p = option->aliases; p != NULL;) {
        const size_t n = strcspn(p, "|");
        edt_strbuf_printf(out, ", --%.*s", (int)n, p);
        p = p[n] == '|' ? p + n + 1 : NULL;
    }
    edt_strbuf_puts(out, "\n");
    edt_strbuf words = {0};
    edt_strbuf_printf(&words, "%s%s", option->type == EDT_CLI_REFUSED ? "not supported: " : "",
                      option->help);
    if (option->choices != NULL) {
        edt_strbuf_puts(&words, "; one of ");
        for (const char *p = option->choices; p != NULL;) {
            const size_t n = strcspn(p, "|");
            edt_strbuf_printf(&words, "%s%.*s", p != option->choices ? ", " : "",
                              n > 0 ? (int)n : 2, n > 0 ? p : "''");
            p = p[n] == '|' ? p + n + 1 : NULL;
        }
    }
    if (option->default_text != NULL && option->type != EDT_CLI_REFUSED) {
        edt_strbuf_printf(&words, " (default: %s)",
                          option->default_text[0] != '\0' ? option->default_text : "''");
    }
    put_wrapped(out, words.text != NULL ? words.text : "", INDENT);
    edt_strbuf_deinit(&words);
}

void edt_cli_help(const edt_cli_program *program, edt_strbuf *out)
{
    edt_strbuf_printf(out, "%s - %s\n\nUsage: %s [OPTIONS]%s%s\n", program->name,
                      program->summary, program->name, program->arguments != NULL ? " " : "",
                      program->arguments != NULL ? program->arguments : "");
    if (program->description != NULL) {
        edt_strbuf_puts(out, "\n");
        put_wrapped(out, program->description, 0);
    }
    edt_strbuf_puts(out, "\nOptions:\n");
    const edt_cli_option *option;
    for (int i = 0; (option = option_at(program, i)) != NULL; ++i) {
        put_option(out, option);
    }
    if (program->show_hparams) {
        edt_strbuf_puts(out,
                        "\nHyper-parameters (--hparams=key=value,... or a *.yaml file):\n");
        edt_hparam_info info;
        for (int i = 0; edt_hparams_info(i, &info); ++i) {
            edt_strbuf_printf(out, "  %s (%s, default: %s)\n", info.name, info.type,
                              info.default_text);
            put_wrapped(out, info.help, INDENT);
        }
    }
    if (program->examples != NULL) {
        edt_strbuf_printf(out, "\nExamples:\n%s", program->examples);
        if (out->n_bytes > 0 && out->text != NULL && out->text[out->n_bytes - 1] != '\n') {
            edt_strbuf_puts(out, "\n");
        }
    }
}
