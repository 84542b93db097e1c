/* What the files of elaboration share: the program (all files read), the frames of the walk, and
 * how mistakes are reported. Private to ir/elaborate*.c and ir/builtin*.c. */
#ifndef NPC_IR_ELABORATE_STATE_H
#define NPC_IR_ELABORATE_STATE_H

#include "frontend/suggest.h"
#include "ir/comptime.h"
#include "ir/elaborate.h"

enum {
    UNROLL_LIMIT = 10000,  /* statements executed */
    CALL_DEPTH_LIMIT = 64, /* blocks inside each other */
    IMPORT_LIMIT = 100,    /* files of a program */
    MAX_AXIS = 1 << 24,    /* size of one axis */
    SESSION_LIMIT = 1000
};

/* ---- program: elaborate_files.c ---- */

typedef struct ProgramFile {
    const char *path; /* as messages call it */
    AstFile *ast;
    Map names;    /* name -> Decl *: its own declarations and its imports */
    bool is_open; /* its imports are being read: meeting it again is a cycle */
} ProgramFile;

typedef struct Program {
    Arena *arena;
    Names *names;
    Diags *diags;
    VEC(ProgramFile *) files; /* every file after the files it imports; the main file is last */
    Map by_path;
    Map owners; /* name -> Decl *: all declarations but recipes share one set of names */
} Program;

/* NULL when the main file could not be read. */
ProgramFile *program_read(Program *p, const char *path);
ProgramFile *program_read_text(Program *p, const char *path, const char *text, size_t len);
/* What `name` means in the file of `where`; NULL when it means nothing. */
Decl *program_find(const Program *p, Span where, const char *name);
ProgramFile *program_file(const Program *p, Span where);

/* ---- the walk ---- */

typedef struct Binding {
    const char *name;
    Value value;
} Binding;

/* Variables of a block or model; regions (for, part) share them. */
typedef VEC(Binding) Scope;

typedef struct Constant {
    const Decl *decl;
    Value value;
    bool is_open; /* being computed */
} Constant;

/* `replace name { .. }` of the variants, outermost first. */
typedef struct Replacement {
    const char *name;
    const Stmt *stmt;
    bool used;
} Replacement;

/* `init(dense, weight: normal(..))` */
typedef struct InitRule {
    const Expr *call;
    const Scope *scope; /* of the model where it stands */
} InitRule;

/* Where the walk is, for "while building core, turn i = 3 of the loop". */
typedef struct Place {
    const struct Place *outer;
    enum { PLACE_PART, PLACE_LOOP, PLACE_CALL } kind;
    const char *name; /* part, block */
    Span span;
    const Expr *target; /* LOOP: its variables */
    const Value *turn;  /* LOOP: the item */
} Place;

/* A block or model being built. */
typedef struct Frame {
    const struct Frame *caller;
    const Decl *decl;
    Scope scope;
    Shape entry; /* axes of its first tensor */
    bool has_entry;
    Value result;
    Value last;   /* last assigned tensor: the value of a part */
    bool is_done; /* returned */
    int depth;
    bool is_named; /* or its caller is: the block has a name below its part's */
} Frame;

/* A term of the loss that the model itself states: a scalar. */
typedef struct Penalty {
    Val val;
    int session; /* -1: of parameters that sessions share */
} Penalty;

typedef struct SeenName {
    const char *name;
    Span span;
} SeenName;

typedef struct Elaborator {
    Arena *arena;
    Names *names;
    Diags *diags;
    Program *program;
    const ElaborateOptions *options;
    Module *module;
    Func *func;
    bool is_training;
    Frame *frame;
    const Place *place;
    const char *path;      /* label path: "core.block0"; "" at the top */
    int session;           /* -1 outside of `per s in sessions` */
    bool has_sessions;     /* the model had a part per session */
    Value *session_result; /* per session: what its part returned */
    int n_executed;
    VEC(Constant) constants;
    VEC(Replacement) replacements;
    VEC(InitRule) inits;
    VEC(Penalty) penalties; /* of this function */
    Map labels;             /* label paths handed out in this function -> count */
    Map made;               /* parameters made in this function -> SeenName */
    uint32_t noted;         /* n_errors when the place was last told */
    bool is_quiet;          /* the last error stood already: its notes are dropped too */
} Elaborator;

/* ---- reporting: elaborate_report.c ---- */

/* Reports unless the same stands there already (loops repeat mistakes); gives VALUE_ERROR. */
__attribute__((format(printf, 4, 5))) Value el_error(Elaborator *el, DiagCode code, Span span,
                                                     const char *fmt, ...);
__attribute__((format(printf, 3, 4))) void el_note(Elaborator *el, Span span, const char *fmt, ...);
__attribute__((format(printf, 2, 3))) void el_help(Elaborator *el, const char *fmt, ...);
/* If errors were added since it was last told: says what was being built. */
void el_tell_place(Elaborator *el);
/* "[b c:128 t h:32 w:32]" */
const char *el_shape_text(const Elaborator *el, const Shape *s);
/* The source text of a span. */
const char *el_source_text(const Elaborator *el, Span span);
/* "c = 48, reduce = 32": the names of an expression and their values; "" when there are none. */
const char *el_names_text(Elaborator *el, const Expr *e);

/* ---- expressions: elaborate_expr.c ---- */

Value el_eval(Elaborator *el, const Expr *e);
/* Silent: is there such a variable, constant or axis? */
bool el_lookup(Elaborator *el, const char *name, Span span, Value *out);
void el_bind(Elaborator *el, const char *name, Value value);
/* A positive whole number, for the size of `axis`; 0 after an error. */
int64_t el_size(Elaborator *el, const Expr *e, const char *axis);
/* A string with its {expressions} filled in; NULL after an error. */
const char *el_string(Elaborator *el, const Expr *e);
bool el_int(Elaborator *el, const Expr *e, const char *what, int64_t *out);
Value el_constant(Elaborator *el, const Decl *decl);

/* ---- statements: elaborate_stmt.c ---- */

void el_body(Elaborator *el, const Body *body);
/* Binds a name or a tuple of names. */
void el_bind_pattern(Elaborator *el, const Expr *target, Value value);

/* ---- calls: elaborate_call.c ---- */

/* Arguments of a call: `first` from the left of |>, or NULL. */
Value el_call(Elaborator *el, const Expr *call, const Value *first);
/* Binds the formals of a block or model to values (one per formal), checks types, fills defaults.
 * False after errors. */
bool el_bind_formals(Elaborator *el, Frame *frame, Value *given);
/* Does the tensor have exactly these axes and sizes? Bare names that stand for a size of the
 * frame's entry must agree with it. */
bool el_check_type(Elaborator *el, const Type *type, const Value *v, const char *what, Span span);

/* ---- labels and parameters: elaborate_param.c ---- */

/* The path of a call's label below the current path: of its `name:` or made from `word`. */
const char *el_label(Elaborator *el, const Item *name, const char *word);
const char *el_path_join(Elaborator *el, const char *path, const char *name);
/* Makes the parameter `path.role` or finds it (the second function), and its value. `op` chooses
 * among the init rules; fan_in and fan_out are bound in them. */
typedef struct ParamSpec {
    const char *op, *label, *role;
    Shape shape;
    int64_t fan_in, fan_out;
    Init init; /* when no rule fits */
    bool is_state, no_decay, frozen;
    double limit; /* 0: none */
    Span span;
} ParamSpec;
Val el_param(Elaborator *el, const ParamSpec *spec);
/* normal(0, 0.02), constant(1), uniform(-1, 1), a number, or s.coordinates, s.means,
 * s.relative_means. */
bool el_init(Elaborator *el, const Expr *e, const Shape *shape, Init *out);
void el_probe(Elaborator *el, const char *label, Val v);

/* ---- sums of the loss: elaborate_loss.c ---- */

void el_build_loss(Elaborator *el, const Recipe *recipe);

/* ---- text of the whole program: elaborate_resolved.c ---- */

typedef struct Resolved {
    const Decl *chain[64]; /* the model and what it varies; the last is a DECL_MODEL */
    int n_chain;
    const Value *arguments; /* final values of the model's formals; tensors stand for themselves */
    const Shape *tensors;   /* shapes of its tensor formals */
    const Session *sessions;
    int n_sessions;
} Resolved;
const char *el_resolved_text(Elaborator *el, const Resolved *r, const Recipe *recipe);

/* ---- name maps: elaborate_names.c ---- */

void el_read_maps(Program *p, Elaborated *out);

#endif
