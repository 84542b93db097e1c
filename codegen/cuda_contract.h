/* Products in tiles, on matrix units or in float32:
 *
 *     acc[g, m, n] = sum over k of code[rows](g, m, k) * code[columns](g, n, k)
 *
 * Every CONTRACT program has this form. Its parallel axes fall into m (only one operand varies),
 * n (only the other) and g (both, or a block must stay at one index); its reduced axes are k. Each
 * group is walked by one flat index. `columns` is the operand that varies with the axis along which
 * results lie side by side in memory: pixels are rows and channels columns of a pointwise
 * convolution, channels are both in its weight gradient.
 *
 * This file says how a program is cut: axes, sizes of tiles, which loads are issued ahead and which
 * values are kept in tables. cuda_contract_tile.c writes the products, cuda_contract_out.c what
 * becomes of them. Everything depends on the program alone. */
#ifndef NPC_CODEGEN_CUDA_CONTRACT_H
#define NPC_CODEGEN_CUDA_CONTRACT_H

#include "codegen/cuda_ahead.h"
#include "codegen/cuda_schedules.h"
#include "codegen/cuda_sums.h"

enum {
    CONTRACT_THREADS = 256,
    CONTRACT_WARPS = CONTRACT_THREADS / 32,
    STEP_WORDS = 16,        /* of 32 bits along k that a step takes: 16 numbers, or 32 of 16 bits */
    MAX_TABLES = 8,         /* values of an operand that depend on its rows only; on k only */
    MAX_COLUMN_TABLES = 16, /* the same behind the anchor */
};

/* Axes walked by one index, the last fastest. */
typedef struct CudaFlat {
    int n;
    int axis[TILE_MAX_AXES];
    int64_t elems;
    int64_t inner; /* points per index of the first axis */
    bool cut;      /* the first axis is the batch, and a recording has only a range of it */
} CudaFlat;

typedef struct CudaOperand {
    const char *name; /* "a", "b": rows, columns */
    int inst;
    const CudaFlat *rows;
    int tile;      /* rows of a block */
    bool along_k;  /* vectors lie along k; else along the rows */
    int vector;    /* axis, the last of k or of the rows */
    int lanes;     /* 8, 4 or 1 */
    bool row_tail; /* rows end inside of a tile */
    bool bare;     /* its bits go to the matrix unit as they are */
    bool resident; /* all of k stays in shared memory while a block walks the rows of the other */
    /* The code is split where it stops to depend on both: */
    CudaAhead ahead; /* loads of large tensors, issued a step ahead */
    int n_of_row, of_row[MAX_TABLES], n_of_k, of_k[MAX_TABLES]; /* tables in shared memory */
    int64_t at_rows, at_k; /* tables: words from the beginning of shared memory */
} CudaOperand;

/* A second product of the same rows (cuda_joint.c): sums over m of code[rows](m, k) x(m, n). */
typedef struct CudaJoint {
    bool is_there;
    int x;           /* instruction */
    int lanes;       /* along the last axis of n */
    CudaAhead ahead; /* its large loads, issued while the tile before is multiplied */
    int64_t at;      /* words from the beginning of shared memory: x of a tile */
    size_t offset;   /* in the workspace: [g][walk][k][n], float32 */
} CudaJoint;

typedef struct CudaContract {
    const TileProgram *p;
    CudaFlat m, n, g, k;
    CudaOperand a, b;
    bool k_tail;
    int per_word, step;          /* numbers to a word along k; k of a step */
    int warps_m, warp_m, warp_n; /* warps side by side along m; tile of one */
    int min_blocks;              /* on a multiprocessor */
    int64_t tiles_m, tiles_n;
    int64_t walk; /* tiles along m that a block takes one after the other */
    int64_t walks;
    int64_t slabs;       /* parts of k, each with its own sums in the workspace */
    int64_t steps;       /* of all of k, without a recording's range */
    int staging_row;     /* words of a row of results in shared memory */
    int64_t tile_words;  /* of tiles in shared memory, from its beginning */
    int64_t resident_at; /* b's tiles, if resident */
    int64_t shared_words;
    /* behind the anchor: vectors along the last axis of n */
    int lanes;
    CudaAhead ahead;                               /* large loads, issued a round of rows ahead */
    int n_of_column, of_column[MAX_COLUMN_TABLES]; /* values that vary with n only: a table */
    int64_t at_columns;                            /* words from the beginning of shared memory */
    CudaSums sums;
    CudaJoint joint;
} CudaContract;

static inline int64_t contract_div_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* False when the program is none, or is too small or too odd to be worth tiles. */
bool contract_plan(CudaContract *c, const TileProgram *p);
/* The same of a program without its pair sum, whose x is instruction `x`: blocks walk over m with
 * the second product's sums in registers. */
bool contract_plan_joint(CudaContract *c, const TileProgram *p, int x);

/* Writes phase 0: the products of a block, up to contract_out. */
void contract_write_products(CudaText *t, CudaContract *c, const CudaPhase *shape);
/* A tile's results: code behind the anchor, or sums of a slab. `m` and `n` name its first row and
 * column, m_end and n_end where they end. */
void contract_write_results(CudaText *t, CudaContract *c);
/* The loads that the first rows of results at `m` need. */
void contract_write_results_ahead(CudaText *t, const CudaContract *c);
/* Before the first tile's results, and behind the last one's. */
void contract_begin_results(CudaText *t, CudaContract *c);
void contract_end_results(CudaText *t, CudaContract *c);
/* The second product: its variables; loads and code of x for the tile that begins at `row`; what a
 * step adds; a block's sums. Nothing where there is none. */
void contract_joint_begin(CudaText *t, CudaContract *c);
void contract_joint_ahead(CudaText *t, const CudaContract *c, const char *row);
void contract_joint_put(CudaText *t, const CudaContract *c, const char *row);
void contract_joint_products(CudaText *t, const CudaContract *c);
void contract_joint_end(CudaText *t, const CudaContract *c);
/* The phase that adds slabs. */
CudaPhase contract_combine_phase(const CudaContract *c);
void contract_write_combine(CudaText *t, const CudaContract *c, int phase);
size_t contract_workspace(const CudaContract *c);

/* Fills a table of values of the rows (or columns) from `first` on: numbers[at + i * tile + row].
 */
void contract_fill_table(CudaText *t, const CudaFlat *rows, const char *end, const int *insts,
                         int n, int64_t at, int tile, const char *first);
/* Makes `lanes` numbers at `at` of a table the value of an instruction. */
void contract_take(CudaText *t, int inst, int lanes, const char *at);
/* Declares the indices of the flat's axes at `at` and enters them. */
void contract_enter(CudaText *t, const CudaFlat *f, const char *at);
/* Enters the axes of size 1, which belong to no flat. */
void contract_enter_ones(CudaText *t);
/* Where the flat begins and ends in this launch: "0", "b0 * 1024". */
const char *contract_first(CudaText *t, const CudaFlat *f);
const char *contract_end(CudaText *t, const CudaFlat *f);

#endif
