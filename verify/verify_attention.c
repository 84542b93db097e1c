/* Attention of a case: weights of the first sample's sequences, registers cut away; rollout of
 * every step's places and of the steps; of images the class token's rollout as a picture. The
 * numbers are made by the code that `npc run --attention` uses. */
#include "runtime/attention_maps.h"
#include "verify/verify_model_parts.h"

typedef struct Weights {
    const AttentionModel *model;
    AttentionKind kind;
    int64_t sequences, blocks, heads, kept;
    double *at; /* [sequences blocks heads kept kept] */
} Weights;

static Status read_weights(VerifyModel *m, int program, Weights *w, Err *err)
{
    const AttentionModel *a = w->model;
    const AttentionBlock *first = a->first[w->kind];
    Arena *arena = m->c->arena;
    w->sequences = first->sequences;
    w->blocks = a->n_of[w->kind];
    w->heads = first->heads;
    w->kept = attention_kept(first);
    int64_t each = w->heads * w->kept * w->kept, n = 0;
    w->at = ARENA_ARRAY(arena, double, (size_t)(w->sequences * w->blocks * each));
    for (int i = 0; i < a->n_blocks; i++) {
        const AttentionBlock *b = &a->block[i];
        if (b->kind != w->kind)
            continue;
        double *scratch = ARENA_ARRAY(arena, double, (size_t)attention_scratch(b));
        AttentionValues part[SCORE_PARTS];
        for (int p = 0; p < b->n_parts; p++) {
            double *x = ARENA_ARRAY(arena, double, (size_t)b->part[p].elems);
            NPC_TRY(subject_read(&m->subject, program, RESULT_OUTPUT, b->part[p].result, x, err));
            part[p] = (AttentionValues){.wide = x};
        }
        for (int64_t s = 0; s < w->sequences; s++)
            attention_weights(b, part, 0, s, scratch, w->at + (s * w->blocks + n) * each);
        n++;
    }
    return NPC_OK;
}

/* line [kept] of one sequence */
static void rollout(VerifyModel *m, const Weights *w, int64_t sequence, double *line)
{
    int64_t each = w->heads * w->kept * w->kept;
    double *scratch = ARENA_ARRAY(m->c->arena, double, (size_t)(2 * w->kept));
    rollout_begin(w->model->first[w->kind], line);
    for (int64_t i = w->blocks; i-- > 0;)
        rollout_through(w->heads, w->kept, w->at + (sequence * w->blocks + i) * each, line,
                        scratch);
}

static Status compare_weights(VerifyModel *m, VerifyRow *row, const Weights *w, const char *tensor,
                              Err *err)
{
    int64_t n = w->sequences * w->blocks * w->heads * w->kept * w->kept;
    return verify_against(m->c, row, tensor, w->at, n, err);
}

static Status compare_video(VerifyModel *m, int program, const AttentionModel *a,
                            VerifyRow *weights, VerifyRow *rolled, Err *err)
{
    static const char *const names[] = {"space", "time"};
    for (AttentionKind kind = ATTENTION_SPACE; kind < ATTENTION_KINDS; kind++) {
        const char *tensor = verify_name(m->c, "expect/attention/%s", names[kind]);
        if (!verify_find(m->c, tensor) || !a->first[kind])
            continue;
        Weights w = {.model = a, .kind = kind};
        NPC_TRY(read_weights(m, program, &w, err));
        NPC_TRY(compare_weights(m, weights, &w, tensor, err));
        double *line = ARENA_ARRAY(m->c->arena, double, (size_t)(w.sequences * w.kept));
        for (int64_t s = 0; s < w.sequences; s++)
            rollout(m, &w, s, line + s * w.kept);
        tensor = verify_name(m->c, "expect/rollout/%s", names[kind]);
        if (kind == ATTENTION_SPACE) {
            NPC_TRY(verify_against(m->c, rolled, tensor, line, w.sequences * w.kept, err));
            continue;
        }
        for (int64_t s = 1; s < w.sequences; s++)
            for (int64_t i = 0; i < w.kept; i++)
                line[i] += line[s * w.kept + i];
        attention_min_max(line, w.kept);
        NPC_TRY(verify_against(m->c, rolled, tensor, line, w.kept, err));
    }
    return NPC_OK;
}

/* As published the map has the shape that the readout gives it: rows are the largest divisor of the
 * number of places that does not exceed the root, rounded up. */
static int64_t published_rows(int64_t places)
{
    int64_t rows = 1;
    for (int64_t i = 1; (i - 1) * (i - 1) < places; i++)
        rows = places % i ? rows : i;
    return rows;
}

static Status compare_image(VerifyModel *m, int program, const AttentionModel *a,
                            VerifyRow *weights, VerifyRow *heat, Err *err)
{
    Weights w = {.model = a, .kind = ATTENTION_SPACE};
    const SafetensorsEntry *e = verify_find(m->c, "expect/heatmap");
    NPC_TRY(read_weights(m, program, &w, err));
    NPC_TRY(compare_weights(m, weights, &w, "expect/attention", err));
    if (!e)
        return NPC_OK;
    double *line = ARENA_ARRAY(m->c->arena, double, (size_t)w.kept);
    int64_t height = verify_size(e, 0), width = verify_size(e, 1), rows = published_rows(a->places);
    rollout(m, &w, 0, line);
    double *places = line + a->first[ATTENTION_SPACE]->front;
    double *map = ARENA_ARRAY(m->c->arena, double, (size_t)(height * width));
    attention_min_max(places, a->places);
    attention_resize(places, rows, a->places / rows, height, width, map);
    return verify_against(m->c, heat, "expect/heatmap", map, height * width, err);
}

Status verify_model_attention(VerifyModel *m, int program, Err *err)
{
    AttentionModel a;
    Err found = {0};
    VerifyRow weights = verify_row(m->c, "attention: weights", VERIFY_OUTPUTS);
    VerifyRow rolled = verify_row(m->c, "attention: rollout", VERIFY_OUTPUTS);
    if (attention_find(&a, m->c->arena, m->subject.module, &found) != NPC_OK)
        return err_set(err, NPC_ERR_INPUT, "%s: %s", m->c->path, found.text);
    NPC_TRY(verify_find(m->c, "expect/attention") && a.first[ATTENTION_SPACE]
                ? compare_image(m, program, &a, &weights, &rolled, err)
                : compare_video(m, program, &a, &weights, &rolled, err));
    verify_push(m->c, weights);
    verify_push(m->c, rolled);
    return NPC_OK;
}
