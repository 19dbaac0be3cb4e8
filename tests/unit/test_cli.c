#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <string.h>

#include "core/cli.h"
#include "core/log.h"

static bool flag, given;
static int64_t count;
static double rate;
static const char *mode, *path;
static edt_cli_texts list, arguments;
static edt_arena arena;
static edt_error err;

static const edt_cli_option options[] = {
    {"eval_after_train", EDT_CLI_BOOL, "false", "evaluate at the end", .target = &flag},
    {"train_batch_size", EDT_CLI_INT, "64", "global batch", .target = &count,
     .aliases = "batch_size|b", .lo = 1, .hi = 1e6, .given = &given},
    {"rate", EDT_CLI_FLOAT, "0.5", "a rate", .target = &rate, .lo = 0, .hi = 1},
    {"mode", EDT_CLI_TEXT, "train", "what to do", .target = &mode, .choices = "|train|eval"},
    {"model_dir", EDT_CLI_TEXT, NULL, "directory of the run", .target = &path},
    {"classes", EDT_CLI_TEXTS, "", "names", .target = &list},
    {"use_xla", EDT_CLI_REFUSED, "false", .help = "there is no XLA here"},
    {"tpu", EDT_CLI_REFUSED, "", .help = "TPUs belong to the reference"},
};

static edt_cli_program program = {
    .name = "prog",
    .summary = "does things",
    .description =
        "A long description that says what the program does, for whom, and how it is told "
        "to do so.\n\nSecond paragraph.",
    .examples = "  prog --mode=eval a.tfrecord\n",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .arguments = "[SHARD...]",
    .argument_target = &arguments,
    .max_arguments = 3,
};

static void setup(void)
{
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
}

static void teardown(void)
{
    edt_arena_deinit(&arena);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

TestSuite(cli, .init = setup, .fini = teardown, .timeout = 30);

static edt_status parse(const char *a, const char *b, const char *c, const char *d,
                        bool *out_exit)
{
    char *argv[] = {"prog", (char *)a, (char *)b, (char *)c, (char *)d, NULL};
    int argc = 1;
    while (argc < 5 && argv[argc] != NULL) {
        ++argc;
    }
    path = NULL;
    edt_arena_reset(&arena);
    return edt_cli_parse(&program, argc, argv, &arena, &err, out_exit);
}

static void accept(const char *a, const char *b, const char *c, const char *d)
{
    bool quit = true;
    cr_assert_eq(parse(a, b, c, d, &quit), EDT_OK, "%s", err.text);
    cr_assert(!quit);
}

static void reject(const char *a, const char *b, const char *words)
{
    bool quit;
    cr_assert_eq(parse(a, b, NULL, NULL, &quit), EDT_ERR_USAGE, "%s", a);
    cr_assert_not_null(strstr(err.text, words), "'%s' lacks '%s'", err.text, words);
}

Test(cli, defaults)
{
    accept(NULL, NULL, NULL, NULL);
    cr_assert(!flag && count == 64 && rate == 0.5 && !given && path == NULL && list.n == 0);
    cr_assert_str_eq(mode, "train");
}

Test(cli, both_forms_flags_aliases_and_positionals)
{
    accept("--eval_after_train", "--batch_size", "8", "x.tfrecord");
    cr_assert(flag && count == 8 && given && arguments.n == 1);
    cr_assert_str_eq(arguments.v[0], "x.tfrecord");
    accept("--eval_after_train=1", "--noeval_after_train", "-b=7", "--rate=1e-1");
    cr_assert(!flag && count == 7 && rate == 0.1);
    accept("--classes=a,b,,d", "--mode=", "--", "--rate");
    cr_assert(list.n == 4 && mode[0] == '\0' && arguments.n == 1);
    cr_assert_str_eq(list.v[2], "");
    cr_assert_str_eq(list.v[3], "d");
    accept("--model_dir=a=b", "--model_dir", "-5", NULL);
    cr_assert_str_eq(path, "-5");
    accept("--nouse_xla", "--use_xla=false", "--tpu=", "--log_level=error");
    cr_assert_eq(edt_log_get_level(), EDT_LOG_ERROR);
}

Test(cli, refusals)
{
    reject("--train_batchsize=3", NULL, "did you mean --train_batch_size?");
    reject("--batch_size=0", NULL,
           "--train_batch_size: '0' is not allowed; allowed: an integer from 1");
    reject("--batch_size=1.5", NULL, "'1.5'");
    reject("--batch_size=99999999999999999999", NULL, "not allowed");
    reject("--rate=nan", NULL, "a number from 0 to 1");
    reject("--mode=evil", NULL, "'', train, eval");
    reject("--model_dir", NULL, "needs a value");
    reject("--eval_after_train=maybe", NULL, "true, false");
    reject("--noeval_after_train=true", NULL, "takes no value");
    reject("--nomode", NULL, "unknown option");
    reject("--use_xla", NULL, "not supported: there is no XLA here");
    reject("--tpu=grpc://x", NULL, "TPUs belong");
    reject("--log_level=loud", NULL, "quiet");
    program.max_arguments = 0;
    reject("stray", NULL, "unexpected argument 'stray'");
}

Test(cli, help_is_made_from_the_table)
{
    edt_strbuf text = {0};
    program.show_hparams = true;
    edt_cli_help(&program, &text);
    static const char *const parts[] = {"Usage: prog [OPTIONS] [SHARD...]\n",
                                        "  --train_batch_size=INT, --batch_size, --b\n",
                                        "global batch (default: 64)",
                                        "--[no]eval_after_train",
                                        "one of '', train, eval (default: train)",
                                        "not supported: there is no XLA here",
                                        "--log_level",
                                        "nms_configs.method (text, default: gaussian)",
                                        "Examples:\n  prog --mode=eval"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; ++i) {
        cr_assert_not_null(strstr(text.text, parts[i]), "'%s' is missing in\n%s", parts[i],
                           text.text);
    }
    for (const char *p = text.text; *p != '\0'; p += strcspn(p, "\n") + 1) {
        cr_assert_leq(strcspn(p, "\n"), 96);
    }
    edt_strbuf_deinit(&text);
}

Test(cli, help_and_version_ask_to_exit)
{
    cr_redirect_stdout();
    bool quit = false;
    cr_assert_eq(parse("--help", NULL, NULL, NULL, &quit), EDT_OK);
    cr_assert(quit);
    cr_assert_eq(parse("--version", "too", "many", "arguments", &quit), EDT_OK);
    cr_assert(quit);
}
