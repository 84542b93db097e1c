/* The state of one parse, and the tree nodes its grammar actions build.
 *
 * Arguments of type Span are places of tokens; their text is read from the source. Nodes take over
 * what they are given; a NULL list means "nothing written". Checks that the grammar leaves out
 * (what may be called, assigned, stand where) are made here and in check.h. */
#ifndef NPC_FRONTEND_BUILD_H
#define NPC_FRONTEND_BUILD_H

#include "frontend/layout.h"

typedef struct Parser {
    Arena *arena;
    Names *names;
    Diags *diags;
    uint32_t file;
    const char *text; /* of the source */
    Tokens tokens;
    Layout layout;
    bool has_ended;       /* the newline in front of TOKEN_END was handed out */
    int start;            /* TOKEN_START_FILE or TOKEN_START_EXPR, handed out first; then 0 */
    AstFile *ast;         /* START_FILE: where declarations go */
    Expr *expression;     /* START_EXPR: the result */
    NameLines *lines;     /* of the name map being read */
    bool expression_only; /* one expression, not a file */
    bool is_too_deep;     /* AST_DEPTH_LIMIT was reported */
} Parser;

/* The next token for the grammar. */
int parser_next(Parser *p, Span *span);
/* The interned text of a token. */
const char *parser_text(Parser *p, Span span);

Expr *build_name(Parser *p, Span at);
Expr *build_number(Parser *p, Span digits, Span unit);
Expr *build_string(Parser *p, Span at);
Expr *build_bool(Parser *p, bool value, Span at);
Expr *build_member(Parser *p, Expr *left, Span name, Span all);
Expr *build_index(Parser *p, Expr *left, Expr *index, Span all);
Expr *build_range(Parser *p, Expr *from, Expr *to, Span all);
Expr *build_bracket(Parser *p, Items *items, Span all);
Expr *build_tuple(Parser *p, Expr *first, Items *rest, Span all);
Expr *build_unary(Parser *p, Operator op, Expr *operand, Span at, Span all);
Expr *build_binary(Parser *p, Operator op, Expr *left, Expr *right, Span at, Span all);
Expr *build_choice(Parser *p, Expr *then, Expr *cond, Expr *otherwise, Span all);
Expr *build_call(Parser *p, Expr *callee, Items *args, Span all);
Expr *build_pipe(Parser *p, Expr *left, Expr *stage, Span at, Span all);

/* `name` SPAN_NONE: positional. */
Item *build_item(Parser *p, Span name, Expr *value);
/* `name = value` where `name: value` was meant: reported, and read as that. */
Item *build_item_with_equals(Parser *p, Span name, Expr *value, Span equals);
Items *build_item_add(Parser *p, Items *items, Item *item);
Items *build_value(Parser *p, Items *items, Expr *value);

Type *build_tensor_type(Parser *p, Expr *bracket);
Type *build_word_type(Parser *p, Span at);
Type *build_tuple_type(Parser *p, Type *tuple, Type *part);
Type *build_per_type(Parser *p, Per *per, Expr *bracket);
Per *build_per(Parser *p, Span name, Expr *over, Span all);
Formal *build_formal(Parser *p, Span name, Type *type, Expr *choices, Expr *value, Span all);
Formals *build_formals(Parser *p, Formals *formals, Formal *formal);

Body *build_body(Parser *p, Body *lines, Stmt *stmt, Span all);
Stmt *build_statement(Parser *p, Expr *value);
Stmt *build_assign(Parser *p, Expr *target, Expr *value, Span all);
Stmt *build_return(Parser *p, Expr *value, Span all);
Stmt *build_for(Parser *p, Expr *target, Expr *list, Body *body, Span all);
Branches *build_branch(Parser *p, Branches *branches, Expr *cond, Body *body);
Stmt *build_if(Parser *p, Branches *branches, Span all);
Stmt *build_part(Parser *p, Span name, Per *per, Body *body, Span all);
Stmt *build_param(Parser *p, Span name, Type *type, Items *attributes, Expr *init, Span all);
Stmt *build_replace(Parser *p, Span name, Body *body, Span all);
Stmt *build_stage(Parser *p, Span name, Items *args, Body *body, Span all);
Stmt *build_bad_statement(Parser *p, Span all);

void build_add_decl(Parser *p, Decl *decl);
Imports *build_import(Parser *p, Imports *imports, Span name);
Decl *build_use(Parser *p, Span path, bool is_std, Imports *imports, Span all);
Decl *build_block(Parser *p, DeclKind kind, Span name, Formals *formals, Type *type, Body *body,
                  Span all);
Decl *build_variant(Parser *p, Span name, Span base, Items *args, Body *body, Span all);
/* A recipe of which only base and model are known yet. */
Decl *build_recipe_base(Parser *p, Span base, Span model);
Decl *build_recipe(Parser *p, Decl *recipe, Span name, Body *body, Span all);
void build_name_line(Parser *p, Span from, Span to);
Decl *build_names(Parser *p, Span name, NameLines *lines, Span all);
Decl *build_constant(Parser *p, Span name, Expr *value, Span all);
Decl *build_bad_decl(Parser *p, Span all);

#endif
