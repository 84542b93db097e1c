/* What is wrong with the user's source, and where.
 *
 * A diagnostic is one row of diag.def (its number never changes) with a sentence, a byte range of a
 * source file, and any number of notes and helps that belong to it. At most DIAG_LIMIT errors are
 * kept; the rest are counted. Printing shows the line with a caret range:
 *
 *     models/readout.nm:4:9: error[E0203]: the two sides of '+' have different sizes on axis 'c'
 *         4 |     y = h + w
 *           |         ^~~~~
 *     models/readout.nm:2:11: note: right operand comes from here */
#ifndef NPC_BASE_DIAG_H
#define NPC_BASE_DIAG_H

#include "ir/base/text.h"
#include <stdbool.h>
#include <stdio.h>

enum { DIAG_LIMIT = 20 };

typedef struct Span {
    uint32_t file;       /* index into Diags.sources; 0 means "no place" */
    uint32_t begin, end; /* bytes, half open */
} Span;

#define SPAN_NONE ((Span){0, 0, 0})

typedef enum DiagCode {
#define DIAG(code, text) DIAG_##code,
#include "ir/base/diag.def"
#undef DIAG
    DIAG_COUNT
} DiagCode;

typedef enum DiagKind {
    DIAG_KIND_ERROR,
    DIAG_KIND_WARNING,
    DIAG_KIND_NOTE,
    DIAG_KIND_HELP
} DiagKind;

typedef struct Source {
    const char *path;
    const char *text;
    size_t len;
} Source;

typedef struct DiagMessage {
    DiagKind kind;
    DiagCode code;
    Span span;
    const char *text;
} DiagMessage;

typedef struct Diags {
    Arena *arena;
    VEC(Source) sources; /* [0] is a placeholder */
    VEC(DiagMessage) messages;
    uint32_t n_errors; /* also those beyond the limit */
    bool muted;        /* the last error was beyond the limit: its notes are dropped too */
} Diags;

void diags_init(Diags *d, Arena *arena);
uint32_t diags_add_source(Diags *d, const char *path, const char *text, size_t len);

__attribute__((format(printf, 4, 5))) void diag_error(Diags *d, DiagCode code, Span span,
                                                      const char *fmt, ...);
__attribute__((format(printf, 4, 5))) void diag_warning(Diags *d, DiagCode code, Span span,
                                                        const char *fmt, ...);
/* Notes and helps belong to the message before them. SPAN_NONE prints no source line. */
__attribute__((format(printf, 3, 4))) void diag_note(Diags *d, Span span, const char *fmt, ...);
__attribute__((format(printf, 2, 3))) void diag_help(Diags *d, const char *fmt, ...);

/* 1-based line and column (bytes) of a byte offset. */
void diag_place(const Diags *d, Span span, uint32_t *line, uint32_t *column);
/* "file.nm:3:4", or "" for SPAN_NONE. */
const char *diag_place_text(Diags *d, Span span);
void diags_print(const Diags *d, FILE *out);
/* The same as one JSON array of {code, kind, file, line, column, end, text}. */
void diags_print_json(const Diags *d, FILE *out);
/* "E0203" */
const char *diag_code_text(DiagCode code);
/* The row's general explanation. */
const char *diag_code_meaning(DiagCode code);

static inline Span span_join(Span a, Span b)
{
    if (!a.file)
        return b;
    if (!b.file || b.file != a.file)
        return a;
    return (Span){a.file, a.begin < b.begin ? a.begin : b.begin, a.end > b.end ? a.end : b.end};
}

#endif
