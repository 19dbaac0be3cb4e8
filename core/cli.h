// Command lines: a program declares its options in one table and gets parsing, --help,
// --version and --log_level from it. Forms: --name=value, --name value, --flag,
// --flag=true|false|1|0,
// --noflag; a single dash works too; "--" ends the options; the last of repeated options wins.
#ifndef EDT_CORE_CLI_H
#define EDT_CORE_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/error.h"
#include "core/strbuf.h"

typedef struct edt_cli_texts {
    int n;
    const char **v;
} edt_cli_texts;

typedef enum edt_cli_type {
    EDT_CLI_BOOL,    // bool
    EDT_CLI_INT,     // int64_t
    EDT_CLI_FLOAT,   // double, finite
    EDT_CLI_TEXT,    // const char *
    EDT_CLI_TEXTS,   // edt_cli_texts, given with commas; empty text is an empty list
    EDT_CLI_REFUSED, // known to users of the reference, not here: `help` says why
} edt_cli_type;

typedef struct edt_cli_option {
    const char *name;
    edt_cli_type type;
    // Stored before the command line is read. NULL: the target keeps what it holds, and --help
    // shows no default. A refused option may be given with this value, as it changes nothing.
    const char *default_text;
    const char *help;
    void *target;        // of the type above; NULL for EDT_CLI_REFUSED
    const char *aliases; // other names, "a|b", or NULL
    const char *choices; // texts: "a|b|c", or NULL for any; "|a" allows empty text too
    double lo, hi;       // numbers: allowed range, unless both are 0
    bool *given;         // set to whether the command line has it; may be NULL
} edt_cli_option;

typedef struct edt_cli_program {
    const char *name;
    const char *summary;     // one line
    const char *description; // paragraphs, or NULL
    const char *examples;    // lines, or NULL
    const edt_cli_option *options;
    int n_options;
    // Positional arguments: NULL target means none are allowed.
    const char *arguments; // for the usage line: "[SHARD...]"
    edt_cli_texts *argument_target;
    int min_arguments, max_arguments;
    bool show_hparams; // --help ends with the table of hparams
} edt_cli_program;

// Texts are borrowed from `argv` and the table, lists live in `arena`. After --help or
// --version, which print to stdout, *out_exit is true and the program should end with 0.
// EDT_ERR_USAGE names the option, the value, what is allowed and for an unknown option the
// nearest known one.
edt_status edt_cli_parse(const edt_cli_program *program, int argc, char *const *argv,
                         edt_arena *arena, edt_error *err, bool *out_exit);

// The text of --help.
void edt_cli_help(const edt_cli_program *program, edt_strbuf *out);

#endif
