/* What both directions of attention share: tiles of a kernel, and how they come into shared
 * memory. Private to codegen/cuda_attend.c, whose head comment explains it, and
 * cuda_attend_back.c. */
#ifndef NPC_CODEGEN_CUDA_ATTEND_H
#define NPC_CODEGEN_CUDA_ATTEND_H

#include "codegen/cuda_schedules.h"

enum { CUDA_ATTEND_THREADS = 256 };

typedef struct AttendTiles {
    const TileProgram *p;
    const TileAttend *t;
    int64_t n, m, d, e;
    int queries, keys; /* of a tile */
    bool staged;       /* rows of operands stand in shared memory */
    /* of a bias' gradient: parallel axes that it has, and axes that it is summed over, in `slots`
     * shares */
    bool has_bias;
    int n_own, own_axis[TILE_MAX_AXES], n_shared, shared_axis[TILE_MAX_AXES];
    int64_t biases, sharing, slots;
} AttendTiles;

static inline bool cuda_attend_wants(const AttendTiles *t, int result)
{
    return t->p->result[result].tensor >= 0;
}

static inline int64_t cuda_attend_tiles(int64_t n, int size)
{
    return (n + size - 1) / size;
}

/* ---- operands ---- */

static inline bool cuda_attend_is_of_queries(int operand)
{
    return operand != ATTEND_KEY && operand != ATTEND_VALUE;
}

int cuda_attend_column(const AttendTiles *t, int operand);

/* The instruction at a row of one axis and a column of another, loaded here. */
const char *cuda_attend_load(CudaText *c, int inst, int row_axis, const char *row, int column_axis,
                             const char *column);
/* Shared memory for an operand's tile; for both sides' labels, own and theirs. */
void cuda_attend_declare(CudaText *c, const AttendTiles *t, int operand);
void cuda_attend_declare_labels(CudaText *c, const AttendTiles *t);
/* Rows first .. of an operand to shared memory, zeros behind the last. */
void cuda_attend_stage(CudaText *c, const AttendTiles *t, int operand, const char *first);
/* Queries and what else belongs to them from i0; keys, values and their labels from j0. */
void cuda_attend_stage_queries(CudaText *c, const AttendTiles *t);
void cuda_attend_stage_keys(CudaText *c, const AttendTiles *t);
/* An operand's element in the tile: row r (a name) of it, column w; `first` is the tile's. */
const char *cuda_attend_element(CudaText *c, const AttendTiles *t, int operand, const char *first,
                                const char *r, const char *w);

/* ---- queries that are asked (cuda_asked.c) ---- */

void cuda_attend_declare_asked(CudaText *c, const AttendTiles *t);
/* Finds those of the tile from i0 of the sequence at hand, between two barriers; declares `rows`,
 * how many there are. When there are none the block goes on with `leave`. `clears`: what is stored
 * for queries becomes 0 where there is none. */
void cuda_attend_find_asked(CudaText *c, const AttendTiles *t, bool clears, const char *leave);
/* How many rows of a tile are queries, and the position of one: where nothing is said about
 * queries, those behind the last count, too. */
const char *cuda_attend_rows(CudaText *c, const AttendTiles *t);
const char *cuda_attend_query(CudaText *c, const AttendTiles *t, const char *row);

/* ---- scores ---- */

/* Opens the loop of a thread over its pairs i, j of a tile. */
void cuda_attend_open_pairs(CudaText *c, const AttendTiles *t);
/* float `name` = the product of two rows. */
void cuda_attend_dot(CudaText *c, const AttendTiles *t, const char *name, int query, int key);
/* Declares the score of the pair; returns it, scaled and added to. */
const char *cuda_attend_score(CudaText *c, const AttendTiles *t);
/* Which pairs count: keys that exist and that the query sees. */
const char *cuda_attend_seen(CudaText *c, const AttendTiles *t);
/* Where keys end that the tile of queries sees: declares `last`. */
void cuda_attend_last_key(CudaText *c, const AttendTiles *t);
const char *cuda_attend_number(CudaText *c, double x);

/* ---- dropped weights (cuda_drop.c): nothing is written where none are dropped ---- */

/* The random words of the sequence at hand, word0 .. word3. */
void cuda_attend_enter_sequence(CudaText *c, const AttendTiles *t);
/* Dropped weights of the tile become 0 in an array of shared memory; then threads meet. */
void cuda_attend_drop(CudaText *c, const AttendTiles *t, const char *weights);
/* What each weight of the tile is multiplied with, to an array of shared memory. */
void cuda_attend_gains(CudaText *c, const AttendTiles *t, const char *to);

/* ---- kernels ---- */

/* Enters a block: its sequence, and the first query or key of its tile. */
void cuda_attend_begin(CudaText *c, int phase, const CudaPhase *shape, const char *what,
                       const char *first, int64_t n, int size);
/* Gathered results of a thread: elements thread, thread + CUDA_ATTEND_THREADS, .. of rows x
 * columns; `filled` of the rows hold something. */
int64_t cuda_attend_held(int rows, int64_t columns);
void cuda_attend_open_held(CudaText *c, int rows, const char *filled, int64_t columns,
                           const char *row);
void cuda_attend_close_held(CudaText *c);
void cuda_attend_store(CudaText *c, const AttendTiles *t, int result, int row_axis, const char *row,
                       int column_axis, const char *column, const char *value);

/* ---- cuda_attend_back.c ---- */

/* Which axes the bias has, and how many slots its gradient takes. */
void cuda_attend_plan_bias(AttendTiles *t);
void cuda_attend_schedule_back(const AttendTiles *t, CudaSchedule *s);
void cuda_attend_write_back(CudaText *c, const AttendTiles *t, const CudaSchedule *s);

#endif
