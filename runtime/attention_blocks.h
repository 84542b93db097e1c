/* The attentions of a compiled model and what they attend to.
 *
 * The program PROGRAM_ATTENTION gives the queries and keys of every attention, and what it adds to
 * scores. A block says how these lie and of what the tokens are made: found from the origins of
 * their axes (ir/origins.h), not from names, so that variants of a model are looked at like the
 * model itself.
 *
 *     space   tokens are places of a step (patches of the picture); one sequence per step
 *     time    tokens are steps (tubelets of frames); one sequence per place
 *
 * Tokens in front of these were learned (a class token), and so were those behind (registers). The
 * tokens that are kept are all but the registers. Source: specs/viv1t.md 9.1, specs/v1t.md 5. */
#ifndef NPC_RUNTIME_ATTENTION_BLOCKS_H
#define NPC_RUNTIME_ATTENTION_BLOCKS_H

#include "ir/origins.h"
#include "ir/base/status.h"

typedef enum AttentionKind { ATTENTION_SPACE, ATTENTION_TIME, ATTENTION_KINDS } AttentionKind;

/* What scores are made of: products of queries and keys, and perhaps a bias of both and labels of
 * each, which cost where they differ (ir/ops/attention.c). */
enum { SCORE_QUERY, SCORE_KEY, SCORE_BIAS, SCORE_OWN, SCORE_THEIRS, SCORE_PARTS };

/* How a part lies; strides in elements, 0 of axes that it lacks. */
typedef struct AttentionSide {
    const char *result; /* of the program: "query/3" */
    int64_t elems;
    int64_t sample, token, entry; /* strides; entries of a bias are keys */
    int64_t sequence[MAX_RANK], head[MAX_RANK];
} AttentionSide;

typedef struct AttentionBlock {
    AttentionKind kind;
    AttentionSide part[SCORE_PARTS];
    int n_parts;            /* SCORE_PARTS, or 2 where nothing is added */
    int n_sequence, n_head; /* axes of sequences and of heads, and their sizes */
    int64_t sequence_size[MAX_RANK], head_size[MAX_RANK];
    int64_t sequences, heads; /* their products */
    int64_t tokens, width;    /* of a sequence, registers included; of a head */
    int64_t front, data;      /* class tokens; tokens made of the input behind them */
    double scale;
    AttendMask mask;
} AttentionBlock;

/* Rows and columns of the input that a token sees. */
typedef struct AttentionPlace {
    OriginRange rows, columns;
} AttentionPlace;

typedef struct AttentionModel {
    AttentionBlock *block; /* in the order of the model */
    int n_blocks;
    int n_of[ATTENTION_KINDS];
    const AttentionBlock *first[ATTENTION_KINDS]; /* NULL: none of the kind */
    int64_t steps, places;
    const OriginRange *frames;       /* [steps] of the input; NULL: the model has no frames */
    const AttentionPlace *place;     /* [places]; NULL: no attention over places or at places */
    int64_t height, width;           /* of the input's pictures */
    int64_t core_height, core_width; /* of the pictures that patches were cut out of */
} AttentionModel;

static inline int64_t attention_kept(const AttentionBlock *b)
{
    return b->front + b->data;
}

/* Looks at the function "eval". NPC_ERR_INPUT, text without a file: there is no attention, or one
 * of another sort. */
Status attention_find(AttentionModel *out, Arena *arena, const Module *m, Err *err);

#endif
