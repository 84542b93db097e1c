/* A single operation while it is verified. Private to runtime/verify_ops*.c. */
#ifndef NPC_VERIFY_VERIFY_OPS_PARTS_H
#define NPC_VERIFY_VERIFY_OPS_PARTS_H

#include "verify/verify_parts.h"

enum { OPS_MAX_ROLES = 16 };

/* How a family's files call what stands behind "operation/case/". */
typedef struct OpsRoles {
    const char *input, *expect; /* in front of inputs, and of what they give */
    const char *result, *cotangent;
} OpsRoles;

typedef struct OpsCase {
    VerifyCase *c;
    const OpsRoles *roles;
    const char *name; /* "operation/case" */
    json_t *attributes;
    Subject subject;
    double
        rounding; /* error of a result that float32 makes unavoidable; 0: none worth mentioning */

    /* of the function that is being built */
    Func *f;
    bool is_training; /* "train": the roles are parameters, so that gradients reach them */
    Status status;    /* the first failure while building */
    Err *err;
    int n_roles; /* roles that get a gradient */
    const char *role[OPS_MAX_ROLES];
} OpsCase;

/* Builds the operation's result in o->f; VAL_NONE when o->status is set. */
typedef Val (*OpsBuild)(OpsCase *o);

typedef struct OpsRow {
    const char *operation;
    OpsBuild build;                        /* a graph with "out" and gradients, or NULL: */
    Status (*check)(OpsCase *o, Err *err); /* everything itself */
} OpsRow;

/* Those of the runtime, and graphs that are built by hand; end with NULL. */
extern const OpsRow VERIFY_OPS_GRAPH[], VERIFY_OPS_STATE[], VERIFY_OPS_HOST[];
extern const OpsRow VERIFY_OPS_TRANSFORMER[], VERIFY_OPS_WINDOWS[];

/* ---- verify_ops.c ---- */

const char *ops_tensor(OpsCase *o, const char *role); /* "operation/case/role" */
bool ops_has(OpsCase *o, const char *role);
Status ops_integer(OpsCase *o, const char *key, int64_t low, int64_t high, int64_t *out, Err *err);
Status ops_number(OpsCase *o, const char *key, double *out, Err *err);
/* Compares one tensor; it joins the case's last row when the tolerance is the same. */
Status ops_push(OpsCase *o, const char *role, const double *got, int64_t n, VerifyQuantity what,
                bool absolute, Err *err);
Status ops_push_floats(OpsCase *o, const char *role, const float *got, int64_t n,
                       VerifyQuantity what, Err *err);
/* Whole numbers: nothing may differ. */
Status ops_push_exact(OpsCase *o, const char *role, const double *got, int64_t n, Err *err);
/* "FILE: operation/case: what" */
Status ops_misfit(OpsCase *o, const char *what, Err *err);
/* Reads a role of any size but this rank. */
Status ops_read(OpsCase *o, const char *role, int rank, double **out, int64_t *size, Err *err);
Status ops_read_floats(OpsCase *o, const char *role, int rank, float **out, int64_t *size,
                       Err *err);

/* Opens a module whose only parameter "w" [n] is that role's tensor, and reads a table of rows
 * [steps n] beside it: verify_ops_state.c. */
Status ops_open_vector(OpsCase *o, const char *vector, const char *table, double **start,
                       double **rows, int64_t size[2], Err *err);
/* AdamW as two families' files have it; there, too. */
Status ops_check_adamw(OpsCase *o, Err *err);

/* ---- building: verify_ops_graph.c ---- */

Status ops_open(OpsCase *o, Err *err);
void ops_close(OpsCase *o);
/* A leaf with the shape of the role's tensor, whose axes are named "b c t": a parameter, or in
 * evaluation an input if it is "x". */
Val ops_leaf(OpsCase *o, const char *role, const char *axes);
/* The same that never gets a gradient: an input. */
Val ops_input(OpsCase *o, const char *role, const char *axes);
/* A state, for running statistics. */
Val ops_state(OpsCase *o, const char *role, const char *axes);
AxisList ops_axes(OpsCase *o, const char *axes);
double ops_attribute(OpsCase *o, const char *key, double low, double high);
/* Gives tensors and inputs of the program their values. */
Status ops_fill(OpsCase *o, int program, Err *err);
/* "grad_<role>" of every leaf, after a run. */
Status ops_check_gradients(OpsCase *o, int program, Err *err);
Status ops_check_graph(OpsCase *o, OpsBuild build, Err *err);

#endif
