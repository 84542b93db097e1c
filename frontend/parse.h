/* From `.nm` text to a syntax tree.
 *
 * Every function registers what it reads as a source of `diags` and reports mistakes there; the
 * text must live as long as the diagnostics do. A tree comes back even after errors (with
 * EXPR_ERROR and STMT_ERROR where they were), so that later stages can look at the rest.
 *
 * Limits, each an E0004: token 255 bytes, line 4096 bytes, file 4 MiB, nesting 200. */
#ifndef NPC_FRONTEND_PARSE_H
#define NPC_FRONTEND_PARSE_H

#include "frontend/ast.h"

enum {
    PARSE_LANGUAGE_VERSION = 1,
    PARSE_TOKEN_LIMIT = 255,           /* bytes */
    PARSE_LINE_LIMIT = 4096,           /* bytes */
    PARSE_FILE_LIMIT = 4 * 1024 * 1024 /* bytes */
};

/* Never NULL; diags->n_errors tells whether the tree is whole. */
AstFile *parse_file(Arena *arena, Names *names, Diags *diags, const char *path, const char *text,
                    size_t len);

/* One expression, as in `--set batch=8clips`. `path` is what messages call the text, for example
 * "--set". NULL after an error. */
Expr *parse_expression_text(Arena *arena, Names *names, Diags *diags, const char *path,
                            const char *text, size_t len);

/* `a.b.c=expression` */
typedef struct SetOption {
    VEC(const char *) path; /* a, b, c */
    Span path_span;
    Expr *value;
} SetOption;

/* False after an error, which has been reported. */
bool parse_set(Arena *arena, Names *names, Diags *diags, const char *text, SetOption *out);

/* A piece of a string: text with its escapes resolved, or the expression of a `{..}`. */
typedef struct StringPiece {
    const char *text; /* NULL for an expression */
    Expr *expr;       /* NULL for text */
    Span span;
} StringPiece;

typedef VEC(StringPiece) StringPieces;

/* Cuts an EXPR_STRING at its `{expression}`s. Escapes are \" \\ \{ \}. An empty string has no
 * pieces. False after an error, which has been reported. */
bool parse_string_pieces(Arena *arena, Names *names, Diags *diags, const Expr *string,
                         StringPieces *out);

#endif
