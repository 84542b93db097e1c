/* Dropped weights inside of attention's kernels (ir/drop.h): a thread makes the four numbers of a
 * counter, whose keys are neighbours of a tile, as tiles begin at whole counters. */
#include "codegen/cuda_attend.h"
#include "ir/drop.h"

void cuda_attend_enter_sequence(CudaText *c, const AttendTiles *t)
{
    const TileAttend *a = t->t;
    int inst = a->operand[tile_n_operands(t->p) - 1];

    for (int i = 0; a->drop > 0 && i < 4; i++) {
        const char *byte[4];
        for (int b = 0; b < 4; b++) {
            const char *at = arena_printf(c->arena, "%d", 4 * i + b);
            byte[b] = cuda_attend_load(c, inst, a->byte, at, a->byte, at);
        }
        cuda_line(c,
                  "const uint32_t word%d = (uint32_t)%s | (uint32_t)%s << 8 | (uint32_t)%s << 16 | "
                  "(uint32_t)%s << 24;",
                  i, byte[0], byte[1], byte[2], byte[3]);
    }
}

/* Opens the loop of a thread over its counters of a tile: of query i and keys from j; `kept` are
 * their numbers. */
static void open_counters(CudaText *c, const AttendTiles *t)
{
    int each = t->keys / DROP_KEYS;

    cuda_open(c, "for (int x = thread; x < %s * %d; x += %d)", cuda_attend_rows(c, t), each,
              CUDA_ATTEND_THREADS);
    cuda_line(c, "const int i = x / %d, j = x %% %d * %d;", each, each, DROP_KEYS);
    cuda_line(c,
              "const NpcWords kept = npc_philox((uint32_t)(j0 + j) / %du, (uint32_t)(%s), word2, "
              "word3, word0, word1);",
              DROP_KEYS, cuda_attend_query(c, t, "i"));
    cuda_open(c, "NPC_UNROLL for (int n = 0; n < %d; n++)", DROP_KEYS);
}

static void close_counters(CudaText *c)
{
    cuda_close(c);
    cuda_close(c);
}

void cuda_attend_drop(CudaText *c, const AttendTiles *t, const char *weights)
{
    if (!(t->t->drop > 0))
        return;
    open_counters(c, t);
    cuda_line(c, "if (kept.at[n] < %uu)", drop_limit(t->t->drop));
    cuda_line(c, "    %s[i * %d + j + n] = 0.0f;", weights, t->keys + 1);
    close_counters(c);
    cuda_line(c, "NPC_SYNC();");
}

void cuda_attend_gains(CudaText *c, const AttendTiles *t, const char *to)
{
    if (!(t->t->drop > 0))
        return;
    open_counters(c, t);
    cuda_line(c, "%s[i * %d + j + n] = kept.at[n] < %uu ? 0.0f : %s;", to, t->keys + 1,
              drop_limit(t->t->drop), cuda_attend_number(c, 1 / (1 - t->t->drop)));
    close_counters(c);
}
