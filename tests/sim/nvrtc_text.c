/* From CUDA text to C: finds the kernels of the text, gives each a section for its shared memory,
 * and appends a function per kernel that takes its parameters from an array, and the table of all.
 *
 * Reads just enough of C for that: comments, strings and lines of the preprocessor are skipped;
 * NPC_KERNEL(threads) NAME(PARAMETERS) { begins a kernel. */
#include "tests/sim/nvrtc.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const char sim_abi_text[], sim_device_text[];

void bytes_add(Bytes *b, const void *at, size_t n)
{
    if (b->len + n + 1 > b->room) {
        size_t room = (b->len + n + 1) * 2;
        char *larger = realloc(b->at, room);
        if (!larger)
            abort();
        b->at = larger;
        b->room = room;
    }
    memcpy(b->at + b->len, at, n);
    b->len += n;
    b->at[b->len] = 0;
}

void bytes_print(Bytes *b, const char *format, ...)
{
    va_list args;
    char text[1024], *long_text = text;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if ((size_t)n >= sizeof text) {
        va_start(args, format);
        n = vasprintf(&long_text, format, args);
        va_end(args);
    }
    if (n > 0)
        bytes_add(b, long_text, (size_t)n);
    if (long_text != text)
        free(long_text);
}

void bytes_free(Bytes *b)
{
    free(b->at);
    *b = (Bytes){0};
}

typedef struct Piece {
    const char *at;
    size_t len;
} Piece;

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static const char *skip_comment(const char *at)
{
    if (at[1] == '/')
        return at + strcspn(at, "\n");
    const char *end = strstr(at + 2, "*/");
    return end ? end + 2 : at + strlen(at);
}

static const char *skip_quoted(const char *at)
{
    char quote = *at++;
    while (*at && *at != quote && *at != '\n')
        at += at[0] == '\\' && at[1] ? 2 : 1;
    return *at ? at + 1 : at;
}

/* A line of the preprocessor, with the lines that continue it. */
static const char *skip_directive(const char *at)
{
    while (*at && *at != '\n') {
        if (at[0] == '/' && at[1] == '*')
            at = skip_comment(at);
        else
            at += at[0] == '\\' && at[1] ? 2 : 1;
    }
    return at;
}

static const char *skip_space(const char *at)
{
    for (;;) {
        if (isspace((unsigned char)*at))
            at++;
        else if (at[0] == '/' && (at[1] == '/' || at[1] == '*'))
            at = skip_comment(at);
        else
            return at;
    }
}

/* "(..)" from its parenthesis on: what is inside; NULL when there is none. */
static const char *parenthesised(const char *at, Piece *inside)
{
    int depth = 0;
    const char *start = at;
    if (*at != '(')
        return NULL;
    do {
        if (!*at)
            return NULL;
        depth += (*at == '(') - (*at == ')');
        at++;
    } while (depth);
    *inside = (Piece){start + 1, (size_t)(at - start) - 2};
    return at;
}

/* Up to the next comma outside of parentheses. */
static Piece until_comma(const char *at, const char *end)
{
    const char *p = at;
    for (int depth = 0; p < end && (*p != ',' || depth); p++)
        depth += (*p == '(') - (*p == ')');
    return (Piece){at, (size_t)(p - at)};
}

static Piece trimmed(Piece p)
{
    while (p.len && isspace((unsigned char)*p.at))
        p.at++, p.len--;
    while (p.len && isspace((unsigned char)p.at[p.len - 1]))
        p.len--;
    return p;
}

/* The type of "const float *__restrict__ x": all but the name. */
static Piece type_of(Piece parameter)
{
    parameter = trimmed(parameter);
    while (parameter.len && is_word(parameter.at[parameter.len - 1]))
        parameter.len--;
    return trimmed(parameter);
}

/* The function that runs one thread of a kernel, and what the table says of its parameters. */
static int write_run(Bytes *out, int number, Piece name, Piece params)
{
    int n = 0;
    const char *end = params.at + params.len;
    Bytes call = {0}, sizes = {0};
    Piece all = trimmed(params);
    bool none = !all.len || (all.len == 4 && !strncmp(all.at, "void", 4));
    for (const char *at = params.at; !none && at < end; n++) {
        Piece one = until_comma(at, end), type = type_of(one);
        bytes_print(&call, "%s*(%.*s *)p[%d]", n ? ", " : "", (int)type.len, type.at, n);
        bytes_print(&sizes, "sizeof(%.*s), ", (int)type.len, type.at);
        bytes_print(out, "_Static_assert(sizeof(%.*s) <= 8, \"a parameter of at most 8 bytes\");\n",
                    (int)type.len, type.at);
        at += one.len + 1;
    }
    bytes_print(out, "static const unsigned char npc_sim_bytes_%d[] = {%s0};\n", number,
                sizes.at ? sizes.at : "");
    bytes_print(out,
                "static void npc_sim_run_%d(void **p)\n{\n    (void)p;\n    %.*s(%s);\n}\n"
                "NPC_SIM_SECTION(npc_shared_%d)\n",
                number, (int)name.len, name.at, call.at ? call.at : "", number);
    bytes_free(&call);
    bytes_free(&sizes);
    return n;
}

/* NPC_KERNEL(threads) name(params) { at `at`, which is behind NPC_KERNEL. */
static bool read_kernel(const char *at, Piece *threads, Piece *name, Piece *params)
{
    at = parenthesised(skip_space(at), threads);
    if (!at)
        return false;
    *threads = trimmed(until_comma(threads->at, threads->at + threads->len));
    at = skip_space(at);
    *name = (Piece){at, 0};
    while (is_word(at[name->len]))
        name->len++;
    at = parenthesised(skip_space(at + name->len), params);
    return at && name->len && *skip_space(at) == '{';
}

typedef struct Writer {
    Bytes *out, *names, tail, table;
    Piece file; /* of the text */
    int n_kernels, line;
} Writer;

static void write_kernel(Writer *w, Piece threads, Piece name, Piece params)
{
    int k = w->n_kernels++;
    bytes_print(w->out,
                "\n#undef NPC_SHARED\n#define NPC_SHARED NPC_SIM_SHARED(\"npc_shared_%d\")\n"
                "#line %d \"%.*s\"\n",
                k, w->line, (int)w->file.len, w->file.at);
    bytes_print(w->names, "%.*s", (int)name.len, name.at);
    bytes_add(w->names, "", 1);
    int n = write_run(&w->tail, k, name, params);
    bytes_print(&w->table,
                "    {\"%.*s\", npc_sim_run_%d, npc_sim_bytes_%d, %d, %.*s, "
                "__start_npc_shared_%d, __stop_npc_shared_%d},\n",
                (int)name.len, name.at, k, k, n, (int)threads.len, threads.at, k, k);
}

/* A line of the preprocessor at `at`: #line N "file" names the place of the next line. */
static void read_line_directive(Writer *w, const char *at)
{
    char *end;
    at += 1 + strspn(at + 1, " \t");
    if (strncmp(at, "line", 4) || !isspace((unsigned char)at[4]))
        return;
    long line = strtol(at + 4, &end, 10);
    end += strspn(end, " \t");
    if (*end == '"')
        w->file = (Piece){end + 1, strcspn(end + 1, "\"\n")};
    w->line = (int)line - 1; /* its own newline follows */
}

static void write_text(Writer *w, const char *text)
{
    const char *at = text, *written = text;
    bool line_start = true;
    while (*at) {
        const char *next = at + 1;
        Piece threads, name, params;
        if (at[0] == '/' && (at[1] == '/' || at[1] == '*')) {
            next = skip_comment(at);
        } else if (*at == '"' || *at == '\'') {
            next = skip_quoted(at);
        } else if (*at == '#' && line_start) {
            next = skip_directive(at);
            read_line_directive(w, at);
        } else if (is_word(*at)) {
            size_t len = 1;
            while (is_word(at[len]))
                len++;
            next = at + len;
            if (((len == 10 && !strncmp(at, "NPC_KERNEL", 10)) ||
                 (len == 14 && !strncmp(at, "NPC_KERNEL_MIN", 14))) &&
                read_kernel(next, &threads, &name, &params)) {
                bytes_add(w->out, written, (size_t)(at - written));
                written = at;
                write_kernel(w, threads, name, params);
            }
        }
        for (; at < next; at++) {
            w->line += *at == '\n';
            line_start = *at == '\n' || (line_start && isspace((unsigned char)*at));
        }
    }
    bytes_add(w->out, written, (size_t)(at - written));
}

void nvrtc_write_c(Bytes *out, const char *text, const char *name, Bytes *names)
{
    Writer w = {.out = out, .names = names, .file = {name, strlen(name)}, .line = 1};
    bytes_add(names, "", 0);
    bytes_print(out, "#line 1 \"sim_abi.h\"\n%s\n#line 1 \"sim_device.h\"\n%s\n#line 1 \"%s\"\n",
                sim_abi_text, sim_device_text, name);
    write_text(&w, text);
    bytes_print(out, "\n#line 1 \"kernels of %s\"\n", name);
    if (w.tail.len)
        bytes_add(out, w.tail.at, w.tail.len);
    bytes_print(out,
                "NPC_SIM_SECTION(npc_shared)\n"
                "static const SimKernel npc_sim_kernels[] = {\n%s    {0}};\n"
                "__attribute__((visibility(\"default\"))) SimUnit *npc_sim_unit(void)\n{\n"
                "    npc_sim.abi = SIM_ABI;\n"
                "    npc_sim.n_kernels = %d;\n"
                "    npc_sim.kernel = npc_sim_kernels;\n"
                "    npc_sim.shared = __start_npc_shared;\n"
                "    npc_sim.shared_end = __stop_npc_shared;\n"
                "    return &npc_sim;\n}\n",
                w.table.at ? w.table.at : "", w.n_kernels);
    bytes_free(&w.tail);
    bytes_free(&w.table);
}
