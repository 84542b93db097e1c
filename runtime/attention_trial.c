#include "runtime/attention_trial.h"

#include "data/npy_write.h"

enum { PIECE = 64 << 20 /* bytes of weights that are written at once */ };

typedef struct Looking {
    const AttentionModel *model;
    const AttentionTrialOptions *o;
    AttentionTrial *out;
    Arena *arena;
    float *part[SCORE_PARTS];      /* of the block at hand */
    double *line[ATTENTION_KINDS]; /* [sequences kept] */
    double *received;              /* [sequences heads kept] of the block at hand */
    float *weights;                /* [piece heads kept kept]; NULL: not wanted */
    const AttentionBlock *block;   /* at hand */
    int64_t first;                 /* sequence of the piece at hand */
} Looking;

static int64_t weights_of(const AttentionBlock *b)
{
    return b->heads * attention_kept(b) * attention_kept(b);
}

size_t attention_trial_scratch(const AttentionModel *m)
{
    int64_t most = 0;
    for (int i = 0; i < m->n_blocks; i++) {
        const AttentionBlock *b = &m->block[i];
        int64_t n = weights_of(b) + attention_scratch(b) + 2 * attention_kept(b);
        most = n > most ? n : most;
    }
    return (size_t)most * sizeof(double);
}

/* ---- one sequence ---- */

/* received[h, j] = mean over i of weights[h, i, j] */
static void receive(const AttentionBlock *b, const double *weights, double *received)
{
    int64_t n = attention_kept(b);
    memset(received, 0, (size_t)(b->heads * n) * sizeof *received);
    for (int64_t h = 0; h < b->heads; h++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                received[h * n + j] += weights[(h * n + i) * n + j] / (double)n;
}

static void look_at_sequence(void *context, int64_t task, void *scratch)
{
    const Looking *z = context;
    const AttentionBlock *b = z->block;
    int64_t n = attention_kept(b), each = weights_of(b), s = z->first + task;
    double *weights = scratch, *rest = weights + each;
    AttentionValues part[SCORE_PARTS];
    for (int p = 0; p < b->n_parts; p++)
        part[p] = (AttentionValues){.single = z->part[p]};
    attention_weights(b, part, 0, s, rest, weights);
    receive(b, weights, z->received + s * b->heads * n);
    rollout_through(b->heads, n, weights, z->line[b->kind] + s * n, rest);
    for (int64_t i = 0; z->weights && i < each; i++)
        z->weights[task * each + i] = (float)weights[i];
}

/* ---- one block ---- */

/* number: of the block among its kind */
static void keep_received(const Looking *z, int number)
{
    const AttentionBlock *b = z->block;
    int64_t n = attention_kept(b), blocks = z->model->n_of[b->kind];
    float *out = z->out->received[b->kind];
    for (int64_t h = 0; h < b->heads; h++)
        for (int64_t j = 0; j < b->data; j++) {
            double sum = 0;
            for (int64_t s = 0; s < b->sequences; s++) {
                double x = z->received[(s * b->heads + h) * n + b->front + j];
                if (b->kind == ATTENTION_SPACE)
                    out[((s * blocks + number) * b->heads + h) * b->data + j] = (float)x;
                sum += x / (double)b->sequences;
            }
            if (b->kind == ATTENTION_TIME)
                out[(number * b->heads + h) * b->data + j] = (float)sum;
        }
}

static int64_t piece_of(const Looking *z)
{
    int64_t n = (int64_t)(PIECE / sizeof(float)) / weights_of(z->block);
    n = n < 1 || !z->o->weights_folder ? (n < 1 ? 1 : z->block->sequences) : n;
    return n < z->block->sequences ? n : z->block->sequences;
}

static Status look_at_pieces(Looking *z, NpyStream *file, Err *err)
{
    const AttentionBlock *b = z->block;
    int64_t piece = piece_of(z), n;
    for (z->first = 0; z->first < b->sequences; z->first += n) {
        n = b->sequences - z->first < piece ? b->sequences - z->first : piece;
        workers_run(z->o->workers, look_at_sequence, z, n);
        if (z->weights)
            NPC_TRY(npy_stream_put(file, z->weights,
                                   (size_t)(n * weights_of(b)) * sizeof *z->weights, err));
    }
    return NPC_OK;
}

static Status look_at_block(Looking *z, int number, Err *err)
{
    static const char *const names[] = {"space", "time"};
    const AttentionBlock *b = z->block;
    NpyStream file;
    char path[4400];
    size_t n = (size_t)attention_kept(b), shape[4] = {(size_t)b->sequences, (size_t)b->heads, n, n};
    if (!z->weights)
        return look_at_pieces(z, NULL, err);
    snprintf(path, sizeof path, "%s/%s_weights_%d.npy", z->o->weights_folder, names[b->kind],
             number);
    Status s = npy_stream_begin(&file, path, NPY_WRITE_F4, shape, 4, err);
    s = s == NPC_OK ? look_at_pieces(z, &file, err) : s;
    s = s == NPC_OK ? npy_stream_end(&file, err) : s;
    npy_stream_abandon(&file);
    return s;
}

/* ---- a trial ---- */

static void make_room(Looking *z)
{
    const AttentionModel *m = z->model;
    AttentionTrial *out = z->out;
    int64_t part[SCORE_PARTS] = {0}, received = 1, weights = 1;
    for (int i = 0; i < m->n_blocks; i++) {
        const AttentionBlock *b = z->block = &m->block[i];
        int64_t r = b->sequences * b->heads * attention_kept(b), w = piece_of(z) * weights_of(b);
        for (int p = 0; p < b->n_parts; p++)
            part[p] = b->part[p].elems > part[p] ? b->part[p].elems : part[p];
        received = r > received ? r : received;
        weights = w > weights ? w : weights;
    }
    for (int p = 0; p < SCORE_PARTS; p++)
        z->part[p] = ARENA_ARRAY(z->arena, float, (size_t)part[p] + 1);
    z->received = ARENA_ARRAY(z->arena, double, (size_t)received);
    if (z->o->weights_folder)
        z->weights = ARENA_ARRAY(z->arena, float, (size_t)weights);
    for (AttentionKind kind = ATTENTION_SPACE; kind < ATTENTION_KINDS; kind++) {
        const AttentionBlock *b = m->first[kind];
        if (!b)
            continue;
        int64_t n = attention_kept(b), each = b->heads * b->data * m->n_of[kind];
        z->line[kind] = ARENA_ARRAY(z->arena, double, (size_t)(b->sequences * n));
        for (int64_t s = 0; s < b->sequences; s++)
            rollout_begin(b, z->line[kind] + s * n);
        out->received[kind] = ARENA_ARRAY(
            z->arena, float, (size_t)(each * (kind == ATTENTION_SPACE ? b->sequences : 1)));
    }
}

static void keep_space(Looking *z)
{
    const AttentionBlock *b = z->model->first[ATTENTION_SPACE];
    int64_t n = attention_kept(b), steps = b->sequences;
    z->out->space = ARENA_ARRAY(z->arena, double, (size_t)(steps * b->data));
    for (int64_t s = 0; s < steps; s++)
        memcpy(z->out->space + s * b->data, z->line[ATTENTION_SPACE] + s * n + b->front,
               (size_t)b->data * sizeof(double));
}

static void keep_time(Looking *z)
{
    const AttentionBlock *b = z->model->first[ATTENTION_TIME];
    int64_t n = attention_kept(b);
    double *time = z->out->time = ARENA_ARRAY(z->arena, double, (size_t)b->data);
    for (int64_t s = 0; s < b->sequences; s++)
        for (int64_t i = 0; i < b->data; i++)
            time[i] += z->line[ATTENTION_TIME][s * n + b->front + i] / (double)b->sequences;
    attention_min_max(time, b->data);
}

static void keep_map(Looking *z)
{
    const AttentionModel *m = z->model;
    AttentionTrial *out = z->out;
    int64_t columns = attention_grid_columns(m->place, m->places);
    bool as_grid = z->o->is_image && columns > 0;
    out->map_height = as_grid ? m->core_height : m->height;
    out->map_width = as_grid ? m->core_width : m->width;
    int64_t size = out->map_height * out->map_width;
    double *scratch = ARENA_ARRAY(z->arena, double, (size_t)(size + m->places));
    out->map = ARENA_ARRAY(z->arena, double, (size_t)(m->steps * size));
    for (int64_t s = 0; s < m->steps; s++) {
        const double *places = out->space + s * m->places;
        double *map = out->map + s * size;
        if (!as_grid) {
            attention_fold(m->place, m->places, places, m->height, m->width, map, scratch);
            continue;
        }
        memcpy(scratch, places, (size_t)m->places * sizeof *places);
        attention_min_max(scratch, m->places);
        attention_resize(scratch, m->places / columns, columns, m->core_height, m->core_width, map);
    }
}

Status attention_trial(AttentionTrial *out, Arena *arena, const AttentionModel *m, Engine *e,
                       int program, const AttentionTrialOptions *o, Err *err)
{
    Looking z = {.model = m, .o = o, .out = out, .arena = arena};
    int number[ATTENTION_KINDS] = {m->n_of[ATTENTION_SPACE], m->n_of[ATTENTION_TIME]};
    *out = (AttentionTrial){.model = m};
    make_room(&z);
    for (int i = m->n_blocks; i-- > 0;) {
        const AttentionBlock *b = z.block = &m->block[i];
        for (int p = 0; p < b->n_parts; p++)
            NPC_TRY(engine_read(e, program, RESULT_OUTPUT, b->part[p].result, z.part[p], err));
        NPC_TRY(look_at_block(&z, --number[b->kind], err));
        keep_received(&z, number[b->kind]);
    }
    if (m->first[ATTENTION_SPACE])
        keep_space(&z);
    if (m->first[ATTENTION_TIME])
        keep_time(&z);
    if (out->space && m->place)
        keep_map(&z);
    return NPC_OK;
}
