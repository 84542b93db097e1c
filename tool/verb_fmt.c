/* npc fmt: formats model files in place. A file with errors is left alone. */
#include <stdlib.h>
#include <string.h>

#include "frontend/format.h"
#include "frontend/parse.h"
#include "ir/base/file.h"
#include "tool/verb.h"

typedef struct Formatter {
    bool check; /* only report */
    int n_changed;
} Formatter;

/* At most one byte beyond the limit, so that the parser reports what is too long. */
static Status read_stdin(Arena *arena, char **out, size_t *len, Err *err)
{
    char *text = arena_alloc(arena, PARSE_FILE_LIMIT + 2);
    *len = fread(text, 1, PARSE_FILE_LIMIT + 1, stdin);
    *out = text;
    return ferror(stdin) ? err_set(err, NPC_ERR_IO, "cannot read standard input") : NPC_OK;
}

static Status format(Formatter *f, Arena *arena, const char *path, Err *err)
{
    bool is_stdin = !strcmp(path, "-");
    char *text;
    size_t len;
    NPC_TRY(is_stdin ? read_stdin(arena, &text, &len, err)
                     : file_read(arena, path, PARSE_FILE_LIMIT, &text, &len, err));
    Names names = {.arena = arena};
    Diags diags;
    Text out = {.arena = arena};
    diags_init(&diags, arena);
    const char *label = is_stdin ? "<stdin>" : path;
    if (!format_text(arena, &names, &diags, label, text, len, &out)) {
        diags_print(&diags, stderr);
        return err_set(err, NPC_ERR_INPUT, "%s: not formatted, it has errors", label);
    }
    bool changed = out.len != len || memcmp(text_str(&out), text, len) != 0;
    f->n_changed += changed;
    if (f->check) {
        if (changed)
            printf("%s\n", label);
        return NPC_OK;
    }
    if (is_stdin) {
        fwrite(text_str(&out), 1, out.len, stdout);
        return NPC_OK;
    }
    return changed ? file_write(path, text_str(&out), out.len, err) : NPC_OK;
}

static Status format_file(Formatter *f, const char *path, Err *err)
{
    Arena arena = {0};
    jmp_buf exhausted;
    Status s;
    arena.exhausted = &exhausted;
    if (setjmp(exhausted))
        s = err_set(err, NPC_ERR_MEMORY, "%s: not enough memory", path);
    else
        s = format(f, &arena, path, err);
    arena_free(&arena);
    return s;
}

int verb_fmt(int argc, char **argv)
{
    Formatter f = {0};
    const OptionRow options[] = {
        {"check", NULL, "change nothing; print the files that would change and exit with 1",
         .flag = &f.check},
        {.name = NULL},
    };
    const Command command = {
        .name = "fmt",
        .arguments = "FILE..",
        .help = "formats model files in place; '-' is standard input to standard output",
        .options = options,
        .examples = "npc fmt models/dwiseneuro.nm\nnpc fmt --check models/*.nm\n",
        .least = 1,
        .most = 1 << 20};
    Words files;
    int code, worst = 0;
    if (command_read(&command, argc, argv, &files, &code))
        return code;
    for (int i = 0; i < files.n; i++) { /* one bad file does not keep the others from it */
        Err err = {0};
        code = command_finish(format_file(&f, files.at[i], &err), &err);
        worst = code > worst ? code : worst;
    }
    if (!worst && f.check && f.n_changed)
        worst = status_exit_code(NPC_ERR_FAILED);
    return worst;
}
