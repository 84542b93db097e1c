/* Which positions of a tile have queries (attend_asks), where additions say so. The rows of shared
 * memory hold queries that are asked, `place` says where they are, and loops end with the last of
 * the `rows`. Dynamic-V1FM's windows reach behind the ends of the volume: of 11,760 positions 3,120
 * are there, and nobody reads what these ask. Tiles are cut from all positions, as the sum of a
 * bias' gradient belongs to positions; a round of a block is eight rows, so not every row saves
 * time. */
#include "codegen/cuda_attend.h"

void cuda_attend_declare_asked(CudaText *c, const AttendTiles *t)
{
    if (t->t->adds)
        cuda_line(c, "NPC_SHARED int place[%d], asked[2];", t->queries);
}

/* A result at positions of the tile without a query is 0. */
static void clear(CudaText *c, const AttendTiles *t, int result, int column)
{
    int64_t width = column < 0 ? 1 : t->p->axes.at[column].size;

    if (!cuda_attend_wants(t, result))
        return;
    cuda_open(c, "for (int x = thread; x < %lld; x += %d)", (long long)(t->queries * width),
              CUDA_ATTEND_THREADS);
    cuda_line(c, "const int i = x / %lld, w = x %% %lld, query = i0 + i;", (long long)width,
              (long long)width);
    cuda_open(c, "if (query < %lld && !(asked[1] >> i & 1))", (long long)t->n);
    cuda_attend_store(c, t, result, t->t->n, "query", column < 0 ? t->t->n : column,
                      column < 0 ? "query" : "w", "0.0f");
    cuda_close(c);
    cuda_close(c);
}

static void clear_results(CudaText *c, const AttendTiles *t)
{
    if (t->p->anchor == TILE_ATTEND) {
        clear(c, t, ATTEND_Y, t->t->e);
        clear(c, t, ATTEND_L, -1);
    } else {
        clear(c, t, ATTEND_DQ, t->t->d);
    }
}

/* A lane for each position: a tile has at most 32. A lane's row is the number of lanes before it
 * that ask. */
void cuda_attend_find_asked(CudaText *c, const AttendTiles *t, bool clears, const char *leave)
{
    int own = t->t->operand[tile_additions(t->p) + ATTEND_OWN];

    if (!t->t->adds)
        return;
    cuda_line(c, "NPC_SYNC();");
    cuda_open(c, "if (thread < 32)");
    cuda_line(c, "const int query = i0 + thread < %lld ? i0 + thread : %lld;", (long long)t->n,
              (long long)t->n - 1);
    const char *label = cuda_attend_load(c, own, t->t->n, "query", t->t->n, "query");
    cuda_line(c, "const int asks = thread < %d && i0 + thread < %lld && %s > %s;", t->queries,
              (long long)t->n, label, cuda_attend_number(c, ATTEND_UNASKED / 2));
    cuda_line(c, "int row = 0, bits = (int)((unsigned)asks << thread), n = asks;");
    cuda_open(c, "NPC_UNROLL for (int distance = 1; distance < 32; distance *= 2)");
    cuda_line(c, "const int others = NPC_SHUFFLE_XOR(n, distance);");
    cuda_line(c, "bits |= NPC_SHUFFLE_XOR(bits, distance);");
    cuda_line(c, "row += thread & distance ? others : 0;");
    cuda_line(c, "n += others;");
    cuda_close(c);
    cuda_line(c, "if (asks)");
    cuda_line(c, "    place[row] = query;");
    cuda_line(c, "if (thread == 0)");
    cuda_line(c, "    asked[0] = n, asked[1] = bits;");
    cuda_close(c);
    cuda_line(c, "NPC_SYNC();");
    cuda_line(c, "const int rows = asked[0];");
    if (clears)
        clear_results(c, t);
    cuda_line(c, "if (!rows)");
    cuda_line(c, "    %s;", leave);
}

const char *cuda_attend_rows(CudaText *c, const AttendTiles *t)
{
    return t->t->adds ? "rows" : arena_printf(c->arena, "%d", t->queries);
}

const char *cuda_attend_query(CudaText *c, const AttendTiles *t, const char *row)
{
    return arena_printf(c->arena, t->t->adds ? "place[%s]" : "i0 + %s", row);
}
