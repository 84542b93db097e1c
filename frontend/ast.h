/* The syntax tree of one `.nm` file.
 *
 * Everything lives in the arena given to parse_file; every name and literal is interned (equal
 * text, equal pointer). Every node carries the byte range it was read from. The tree holds what was
 * written, not what it means: `[t]` is a bracket whether it names axes or lists values, and strings
 * keep their raw text (parse_string_pieces cuts them at `{expression}`).
 *
 * Depth: an expression is at most AST_DEPTH_LIMIT nodes deep and braces nest at most as deep, so
 * that walkers may recurse. Lists of statements, else-if branches and items are arrays. */
#ifndef NPC_FRONTEND_AST_H
#define NPC_FRONTEND_AST_H

#include "ir/base/diag.h"

enum { AST_DEPTH_LIMIT = 200 };

typedef struct Expr Expr;
typedef struct Stmt Stmt;

typedef enum ExprKind {
    EXPR_ERROR,   /* what stood here was wrong and has been reported: stay silent about it */
    EXPR_NUMBER,  /* 3   2.4e-3   16 frames */
    EXPR_STRING,  /* "text" */
    EXPR_BOOL,    /* yes no */
    EXPR_NAME,    /* widths */
    EXPR_MEMBER,  /* left.name */
    EXPR_INDEX,   /* left[right]; `right` is an EXPR_RANGE for a slice */
    EXPR_RANGE,   /* left..right; either side is NULL when left open (only inside an index) */
    EXPR_BRACKET, /* [items]: axes or values */
    EXPR_TUPLE,   /* (a, b): at least two items, all positional */
    EXPR_UNARY,   /* op left */
    EXPR_BINARY,  /* left op right */
    EXPR_CALL,    /* name(items) */
    EXPR_PIPE,    /* left |> right; `right` is always an EXPR_CALL, `left` its first argument */
    EXPR_IF,      /* left if cond else right */
    EXPR_KIND_COUNT
} ExprKind;

typedef enum Operator {
    OPERATOR_ADD,
    OPERATOR_SUB,
    OPERATOR_MUL,
    OPERATOR_DIV,
    OPERATOR_POW,
    OPERATOR_EQ,
    OPERATOR_NE,
    OPERATOR_LT,
    OPERATOR_LE,
    OPERATOR_GT,
    OPERATOR_GE,
    OPERATOR_AND,
    OPERATOR_OR,
    OPERATOR_NEG, /* unary */
    OPERATOR_NOT, /* unary */
    OPERATOR_COUNT
} Operator;

/* One argument of a call or one entry of a bracket: `value` or `name: value`. */
typedef struct Item {
    const char *name;  /* NULL: positional */
    Span name_span;    /* of `name` (with its quotes if it is a string) */
    bool name_is_text; /* "quoted": 3 */
    Expr *value;       /* never NULL */
} Item;

typedef VEC(Item) Items;

struct Expr {
    ExprKind kind;
    Operator op;     /* UNARY, BINARY */
    uint32_t depth;  /* of the tree below, 1 for a leaf */
    bool value;      /* BOOL */
    bool has_parens; /* CALL: written with parentheses */
    Span span;       /* the whole expression, without parentheses around it */
    Span op_span;    /* UNARY, BINARY, PIPE: the operator; CALL, MEMBER: `name`; NUMBER: the unit */
    const char *name; /* NAME, MEMBER, CALL */
    const char *text; /* NUMBER: its digits as written; STRING: raw text between the quotes */
    const char *unit; /* NUMBER: "frames", or NULL */
    double number;    /* NUMBER */
    int64_t num, den; /* NUMBER: exact value num/den in lowest terms; den 0 if it does not fit */
    Expr *left, *right, *cond;
    Items items; /* BRACKET, TUPLE, CALL */
};

typedef enum TypeKind {
    TYPE_ERROR,  /* reported */
    TYPE_TENSOR, /* [b c:5 t] */
    TYPE_INT,
    TYPE_REAL,
    TYPE_BOOL,
    TYPE_LIST,
    TYPE_STRING,
    TYPE_SESSION, /* a recording: s of `per s in sessions` */
    TYPE_TUPLE,   /* ([b c], [b n]): only after -> */
    TYPE_KIND_COUNT
} TypeKind;

/* `per s in sessions`: one copy per recording. */
typedef struct Per {
    const char *name; /* s; NULL: there is no such clause */
    Span name_span;
    Expr *over; /* sessions */
    Span span;
} Per;

typedef struct Type Type;

struct Type {
    TypeKind kind;
    Span span;
    Items axes;        /* TENSOR: `b` is {NULL, EXPR_NAME b}, `c:5` is {"c", EXPR_NUMBER 5} */
    VEC(Type *) parts; /* TUPLE */
    Per per;           /* only after -> */
};

/* A parameter of a block or model: `out: int = 3`, `by: string in ["sum", "mean"] = "sum"`. */
typedef struct Formal {
    const char *name;
    Span name_span, span;
    Type *type;
    Expr *choices; /* what it may be, or its items, or NULL */
    Expr *value;   /* default, or NULL */
} Formal;

typedef VEC(Formal) Formals;

typedef VEC(Stmt *) Stmts;

typedef struct Body {
    Stmts stmts;
    Span span; /* with the braces */
} Body;

typedef enum StmtKind {
    STMT_ERROR,   /* reported */
    STMT_ASSIGN,  /* target = value; also every setting of a recipe or stage */
    STMT_EXPR,    /* value: a call such as init(..) */
    STMT_RETURN,  /* return value */
    STMT_FOR,     /* for target in value { body } */
    STMT_IF,      /* branches in order; the last may be the else branch (cond NULL) */
    STMT_PART,    /* part name { body }, with `per` perhaps */
    STMT_PARAM,   /* param name: type (items) = value */
    STMT_REPLACE, /* replace name { body }: only in the body of a variant */
    STMT_STAGE,   /* stage name(items) { body }: only in a recipe */
    STMT_KIND_COUNT
} StmtKind;

typedef struct Branch {
    Expr *cond; /* NULL: else */
    Body body;
} Branch;

typedef VEC(Branch) Branches;

struct Stmt {
    StmtKind kind;
    Span span;
    Expr *target;     /* ASSIGN, FOR: EXPR_NAME, or EXPR_TUPLE of such (nested in FOR) */
    Expr *value;      /* ASSIGN, EXPR, RETURN, FOR; PARAM: initialiser call or NULL */
    const char *name; /* PART, PARAM, REPLACE, STAGE */
    Span name_span;
    Per per;           /* PART */
    Type *type;        /* PARAM */
    Items items;       /* PARAM: attributes; STAGE: arguments */
    Body body;         /* FOR, PART, REPLACE, STAGE */
    Branches branches; /* IF */
};

typedef enum DeclKind {
    DECL_ERROR,   /* reported */
    DECL_USE,     /* use "file.nm" (imports), or use std_name (imports) */
    DECL_BLOCK,   /* block name(formals) -> type { body } */
    DECL_MODEL,   /* model name(formals) -> type { body } */
    DECL_VARIANT, /* model name = base(items) { body of replacements } */
    DECL_RECIPE,  /* recipe name = base for model { body }; base may be NULL */
    DECL_CONST,   /* name = value */
    DECL_NAMES,   /* names name { "text" = "text" .. } */
    DECL_KIND_COUNT
} DeclKind;

typedef struct Import {
    const char *name;
    Span span;
} Import;

typedef VEC(Import) Imports;

/* One line of a name map; both sides are EXPR_STRING. */
typedef struct NameLine {
    Expr *from, *to;
} NameLine;

typedef VEC(NameLine) NameLines;

typedef struct Decl {
    DeclKind kind;
    Span span;
    const char *name; /* all but USE */
    Span name_span;
    const char *path; /* USE: raw text of the string, or the bare name */
    bool is_std;      /* USE: a bare name */
    Span path_span;
    Imports imports;  /* USE */
    Formals formals;  /* BLOCK, MODEL */
    Type *type;       /* BLOCK, MODEL: result, or NULL */
    const char *base; /* VARIANT, RECIPE, or NULL */
    Span base_span;
    Items items;       /* VARIANT: arguments */
    const char *model; /* RECIPE */
    Span model_span;
    Body body;       /* BLOCK, MODEL, VARIANT, RECIPE */
    Expr *value;     /* CONST */
    NameLines lines; /* NAMES */
} Decl;

/* A comment, "#" to the end of its line. */
typedef struct Comment {
    Span span;
    bool own_line; /* nothing but blanks before it on its line */
} Comment;

typedef struct AstFile {
    const char *path;
    uint32_t file; /* index into Diags.sources */
    int version;   /* of the first line; 0 when it was missing */
    VEC(Decl *) decls;
    VEC(Comment) comments;
    VEC(uint32_t) type_begins; /* where the brackets of tensor types begin, in ascending order */
} AstFile;

/* "+", "and", "-" .. */
const char *operator_text(Operator op);
/* "int", "real" ..; "tensor" for brackets. */
const char *type_kind_text(TypeKind kind);
/* NULL when absent. */
const Item *items_find(const Items *items, const char *name);
Decl *ast_find(const AstFile *file, const char *name);

/* The tree as nested lists, one declaration or statement a line; deterministic. */
void ast_print(Text *out, const AstFile *file);
void ast_print_expr(Text *out, const Expr *e);

#endif
