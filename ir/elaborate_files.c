/* Reads a program: the main file, the files it imports, and what every name means in each. */
#include "ir/elaborate_state.h"

#include "ir/base/file.h"

static const char *folder_of(Arena *arena, const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? arena_strndup(arena, path, (size_t)(slash - path) + 1) : "";
}

/* The path of an import, relative to the folder of the importing file, without "x/../" steps: one
 * file has one path, so that it is read once. */
static const char *import_path(Arena *arena, const char *importer, const char *path)
{
    const char *joined =
        *path == '/' ? path : arena_printf(arena, "%s%s", folder_of(arena, importer), path);
    char *out = ARENA_ARRAY(arena, char, strlen(joined) + 2);
    size_t n = 0;
    for (const char *s = joined; *s;) {
        size_t part = strcspn(s, "/");
        bool is_dot = part == 1 && *s == '.', is_up = part == 2 && !strncmp(s, "..", 2);
        size_t back = n;
        while (back > 1 && out[back - 2] != '/')
            back--;
        bool can_go_up = n > 0 && back > 0 && strncmp(out + back - 1, "../", 3);
        if (is_up && can_go_up) {
            n = back - 1;
        } else if (!is_dot) {
            memcpy(out + n, s, part);
            n += part;
            if (s[part])
                out[n++] = '/';
        }
        s += part + (s[part] != 0);
    }
    out[n] = 0;
    return out;
}

static void duplicate(Program *p, const Decl *d, const Decl *old, const char *where)
{
    diag_error(p->diags, DIAG_E0104, d->name_span, "'%s' is defined twice%s", d->name, where);
    diag_note(p->diags, old->name_span, "it was defined here first");
}

static void add_declaration(Program *p, ProgramFile *f, Decl *d)
{
    if (!d->name || d->kind == DECL_ERROR || d->kind == DECL_USE || d->kind == DECL_NAMES)
        return;
    Decl *old = map_get(&f->names, d->name);
    if (old) {
        duplicate(p, d, old, "");
        return;
    }
    map_put(p->arena, &f->names, d->name, d);
    if (d->kind == DECL_CONST && !strcmp(d->name, "sessions"))
        return; /* every file may have its own list */
    old = map_get(&p->owners, d->name);
    if (old) {
        duplicate(p, d, old, ": the files of a program share their names");
        return;
    }
    map_put(p->arena, &p->owners, d->name, d);
}

static void report_cycle(Program *p, const Decl *use, const ProgramFile *met)
{
    diag_error(p->diags, DIAG_E0106, use->path_span, "imports form a cycle");
    Text chain = {.arena = p->arena};
    text_add(&chain, met->path);
    /* the open files read after `met` are the chain that led here */
    bool is_behind = false;
    for (uint32_t i = 0; i < p->by_path.n; i++) {
        const ProgramFile *f = p->by_path.entry[i].value;
        if (is_behind && f->is_open)
            text_printf(&chain, " uses %s", f->path);
        is_behind |= f == met;
    }
    text_printf(&chain, " uses %s", met->path);
    diag_note(p->diags, SPAN_NONE, "%s", text_str(&chain));
}

static void import_names(Program *p, ProgramFile *f, const Decl *use, const ProgramFile *from)
{
    for (uint32_t i = 0; i < use->imports.len; i++) {
        const Import *wanted = &use->imports.at[i];
        Decl *d = map_get(&from->names, wanted->name);
        if (!d) {
            Suggest near = suggest_for(wanted->name);
            for (uint32_t k = 0; k < from->names.n; k++)
                suggest_offer(&near, from->names.entry[k].key);
            diag_error(p->diags, DIAG_E0102, wanted->span, "%s defines no '%s'", from->path,
                       wanted->name);
            if (suggest_best(&near))
                diag_help(p->diags, "did you mean '%s'?", suggest_best(&near));
        } else if (map_get(&f->names, wanted->name)) {
            diag_error(p->diags, DIAG_E0104, wanted->span, "'%s' is imported twice", wanted->name);
        } else {
            map_put(p->arena, &f->names, wanted->name, d);
        }
    }
}

static ProgramFile *read_file(Program *p, const char *path, const Decl *use);

static void read_import(Program *p, ProgramFile *f, const Decl *use)
{
    if (use->is_std) {
        diag_error(p->diags, DIAG_E0105, use->path_span, "there is no library named '%s'",
                   use->path);
        diag_help(p->diags, "write the file in quotes: use \"%s.nm\" (..)", use->path);
        return;
    }
    const char *path = import_path(p->arena, f->path, use->path);
    ProgramFile *from = map_get(&p->by_path, path);
    if (from && from->is_open) {
        report_cycle(p, use, from);
        return;
    }
    if (!from)
        from = read_file(p, path, use);
    if (from)
        import_names(p, f, use, from);
}

static ProgramFile *add_file(Program *p, const char *path, const char *text, size_t len)
{
    ProgramFile *f = ARENA_NEW(p->arena, ProgramFile);
    f->path = path;
    f->ast = parse_file(p->arena, p->names, p->diags, path, text, len);
    f->is_open = true;
    map_put(p->arena, &p->by_path, path, f);
    for (uint32_t i = 0; i < f->ast->decls.len; i++)
        if (f->ast->decls.at[i]->kind == DECL_USE)
            read_import(p, f, f->ast->decls.at[i]);
    for (uint32_t i = 0; i < f->ast->decls.len; i++)
        add_declaration(p, f, f->ast->decls.at[i]);
    f->is_open = false;
    vec_push(p->arena, &p->files, f);
    return f;
}

static ProgramFile *read_file(Program *p, const char *path, const Decl *use)
{
    char *text;
    size_t len;
    Err err = {0};
    if (p->by_path.n >= IMPORT_LIMIT) {
        diag_error(p->diags, DIAG_E0004, use->path_span, "a program has at most %d files",
                   IMPORT_LIMIT);
        return NULL;
    }
    if (file_read(p->arena, path, PARSE_FILE_LIMIT, &text, &len, &err) != NPC_OK) {
        diag_error(p->diags, DIAG_E0105, use ? use->path_span : SPAN_NONE, "%s", err.text);
        return NULL;
    }
    return add_file(p, arena_strdup(p->arena, path), text, len);
}

ProgramFile *program_read(Program *p, const char *path)
{
    return read_file(p, import_path(p->arena, "", path), NULL);
}

ProgramFile *program_read_text(Program *p, const char *path, const char *text, size_t len)
{
    return add_file(p, import_path(p->arena, "", path), text, len);
}

ProgramFile *program_file(const Program *p, Span where)
{
    for (uint32_t i = 0; i < p->files.len; i++)
        if (p->files.at[i]->ast->file == where.file)
            return p->files.at[i];
    return p->files.len ? p->files.at[p->files.len - 1] : NULL;
}

Decl *program_find(const Program *p, Span where, const char *name)
{
    const ProgramFile *f = program_file(p, where);
    return f ? map_get(&f->names, name) : NULL;
}
