#include "runtime/checkpoint.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "ir/base/text.h"

static const char format_name[] = "npc-checkpoint-1";

/* ---- checksum ---- */

/* The checksum comes first in the header, so its digits have a fixed place. */
static const char seal[] = "{\"__metadata__\":{\"checksum\":\"xxh3-128:";
static const char no_digits[] = "xxh3-128:00000000000000000000000000000000";
enum { DIGITS = 32, DIGITS_AT = 8 + sizeof seal - 1 };

static bool has_seal(const char *header, size_t bytes)
{
    return bytes >= DIGITS_AT + DIGITS && !memcmp(header + 8, seal, sizeof seal - 1);
}

/* Starts the hash of a file with its header: the digits count as zeros. */
static bool hash_header(XXH3_state_t *h, const char *header, size_t bytes)
{
    size_t after = DIGITS_AT + DIGITS;
    return XXH3_128bits_reset(h) == XXH_OK && XXH3_128bits_update(h, header, DIGITS_AT) == XXH_OK &&
           XXH3_128bits_update(h, no_digits + sizeof no_digits - 1 - DIGITS, DIGITS) == XXH_OK &&
           XXH3_128bits_update(h, header + after, bytes - after) == XXH_OK;
}

static void hash_text(XXH3_state_t *h, char out[DIGITS + 1])
{
    XXH128_hash_t x = XXH3_128bits_digest(h);
    snprintf(out, DIGITS + 1, "%016llx%016llx", (unsigned long long)x.high64,
             (unsigned long long)x.low64);
}

static uint64_t entry_bytes(const SafetensorsEntry *e)
{
    uint64_t bytes = safetensors_dtype_bytes(e->dtype);
    for (uint32_t i = 0; i < e->rank; i++)
        bytes *= e->shape[i]; /* the plan has checked the product */
    return bytes;
}

/* Writes the checksum into the header of a plan. */
static Status seal_plan(SafetensorsPlan *plan, const char *path, Err *err)
{
    XXH3_state_t *h = XXH3_createState();
    if (!h)
        return err_set(err, NPC_ERR_MEMORY, "%s: not enough memory for the checksum", path);
    bool ok = has_seal(plan->header, plan->header_bytes) &&
              hash_header(h, plan->header, plan->header_bytes);
    for (size_t i = 0; i < plan->n && ok; i++) {
        uint64_t bytes = entry_bytes(plan->order[i]);
        ok = !bytes || XXH3_128bits_update(h, plan->order[i]->data, bytes) == XXH_OK;
    }
    char text[DIGITS + 1];
    hash_text(h, text);
    XXH3_freeState(h);
    memcpy(plan->header + DIGITS_AT, text, DIGITS);
    return ok ? NPC_OK : err_set(err, NPC_ERR_INTERNAL, "%s: the checksum failed", path);
}

static Status verify_checksum(const Safetensors *st, Err *err)
{
    const char *header = (const char *)st->file;
    if (!has_seal(header, st->data_at))
        return err_set(err, NPC_ERR_INPUT, "%s: no checkpoint (it has no checksum in its place)",
                       st->path);
    XXH3_state_t *h = XXH3_createState();
    if (!h)
        return err_set(err, NPC_ERR_MEMORY, "%s: not enough memory for the checksum", st->path);
    bool ok = hash_header(h, header, st->data_at) &&
              XXH3_128bits_update(h, header + st->data_at, st->file_bytes - st->data_at) == XXH_OK;
    char text[DIGITS + 1];
    hash_text(h, text);
    XXH3_freeState(h);
    if (!ok || memcmp(text, header + DIGITS_AT, DIGITS))
        return err_set(err, NPC_ERR_INPUT,
                       "%s: damaged: its checksum is %.32s, its contents give %s", st->path,
                       header + DIGITS_AT, text);
    return NPC_OK;
}

/* ---- names of files ---- */

/* "step-00000123.safetensors" with any number of digits >= 8 */
static bool step_of_name(const char *name, uint64_t *step)
{
    if (strncmp(name, "step-", 5))
        return false;
    const char *p = name + 5;
    uint64_t x = 0;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(x, (uint64_t)10, &x) ||
            __builtin_add_overflow(x, (uint64_t)(*p - '0'), &x))
            return false;
    *step = x;
    return p - (name + 5) >= 8 && !strcmp(p, ".safetensors");
}

static bool is_leftover(const char *name)
{
    return (!strncmp(name, "step-", 5) || !strncmp(name, "best.", 5)) &&
           strstr(name, ".safetensors.tmp");
}

typedef struct StepFile {
    uint64_t step;
    const char *name;
} StepFile;

static int newest_first(const void *pa, const void *pb)
{
    const StepFile *a = pa, *b = pb;
    return a->step != b->step ? (a->step > b->step ? -1 : 1) : strcmp(a->name, b->name);
}

static Status list_steps(Arena *a, const char *folder, StepFile **out, size_t *n, Err *err)
{
    const char **names;
    size_t n_names;
    NPC_TRY(file_list(a, folder, &names, &n_names, err));
    *out = ARENA_ARRAY(a, StepFile, n_names);
    *n = 0;
    for (size_t i = 0; i < n_names; i++)
        if (step_of_name(names[i], &(*out)[*n].step))
            (*out)[(*n)++].name = names[i];
    if (*n)
        qsort(*out, *n, sizeof **out, newest_first);
    return NPC_OK;
}

static Status path_in(char out[PATH_MAX], const char *folder, const char *name, Err *err)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", folder, name);
    return n > 0 && n < PATH_MAX ? NPC_OK
                                 : err_set(err, NPC_ERR_INPUT,
                                           "%.200s...: the name of the folder is too long", folder);
}

/* ---- saving ---- */

/* NaN when the text is absent or no number. */
static double score_of(const Safetensors *st)
{
    const char *text = safetensors_meta(st, "score");
    json_t *v = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    double score = json_is_number(v) ? json_number_value(v) : NAN;
    json_decref(v);
    return score;
}

static bool beats_best(const char *path, double score)
{
    Safetensors st;
    Err unreadable = {0}; /* then there is no best one */
    if (!isfinite(score))
        return false;
    if (safetensors_open(&st, path, &unreadable) != NPC_OK)
        return true;
    double best = score_of(&st);
    safetensors_close(&st);
    return !(best >= score);
}

/* A second name of the step file; file systems without hard links get a copy. */
static Status make_best(const char *step_path, const char *best_path, const SafetensorsPlan *plan,
                        Err *err)
{
    char temporary[PATH_MAX + 32];
    snprintf(temporary, sizeof temporary, "%s.tmp%ld", best_path, (long)getpid());
    unlink(temporary);
    if (link(step_path, temporary) < 0)
        return safetensors_write_plan(best_path, plan, err);
    if (rename(temporary, best_path) == 0) {
        unlink(temporary); /* rename does nothing when both names are the same file already */
        return NPC_OK;
    }
    Status s = err_set(err, NPC_ERR_IO, "%s: cannot write: %s", best_path, strerror(errno));
    unlink(temporary);
    return s;
}

/* A file that cannot be removed costs space, not correctness: no error. */
static Status prune(Arena *a, const char *folder, uint64_t step, uint32_t keep_last, Err *err)
{
    char path[PATH_MAX];
    const char **names;
    size_t n;
    StepFile *file;
    NPC_TRY(file_list(a, folder, &names, &n, err));
    for (size_t i = 0; i < n; i++)
        if (is_leftover(names[i]) && path_in(path, folder, names[i], err) == NPC_OK)
            unlink(path);
    NPC_TRY(list_steps(a, folder, &file, &n, err));
    uint32_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool keep = file[i].step <= step && kept < (keep_last ? keep_last : 1);
        kept += keep;
        if (!keep && path_in(path, folder, file[i].name, err) == NPC_OK)
            unlink(path);
    }
    return NPC_OK;
}

static Status plan_checkpoint(SafetensorsPlan *plan, Arena *a, const char *path,
                              const CheckpointInfo *info, const SafetensorsEntry *tensor, size_t n,
                              Err *err)
{
    Text score = {.arena = a};
    if (isfinite(info->score))
        text_double(&score, info->score);
    SafetensorsMeta meta[] = {
        {"checksum", no_digits},
        {"format", format_name},
        {"model_hash", info->model_hash ? info->model_hash : ""},
        {"state", info->state ? info->state : "{}"},
        {"step", arena_printf(a, "%llu", (unsigned long long)info->step)},
        {"score", text_str(&score)},
    };
    NPC_TRY(safetensors_plan(plan, a, path, tensor, n, meta, sizeof meta / sizeof *meta, err));
    return seal_plan(plan, path, err);
}

static Status save(Arena *a, const char *folder, const CheckpointInfo *info,
                   const SafetensorsEntry *tensor, size_t n, uint32_t keep_last, Err *err)
{
    char name[64], path[PATH_MAX], best[PATH_MAX];
    SafetensorsPlan plan;
    snprintf(name, sizeof name, "step-%08llu.safetensors", (unsigned long long)info->step);
    NPC_TRY(path_in(path, folder, name, err));
    NPC_TRY(path_in(best, folder, "best.safetensors", err));
    NPC_TRY(plan_checkpoint(&plan, a, path, info, tensor, n, err));
    NPC_TRY(safetensors_write_plan(path, &plan, err));
    if (beats_best(best, info->score))
        NPC_TRY(make_best(path, best, &plan, err));
    return prune(a, folder, info->step, keep_last, err);
}

Status checkpoint_save(const char *folder, const CheckpointInfo *info,
                       const SafetensorsEntry *tensor, size_t n, uint32_t keep_last, Err *err)
{
    Arena arena = {0};
    jmp_buf exhausted;
    arena.exhausted = &exhausted;
    Status s = setjmp(exhausted)
                   ? err_set(err, NPC_ERR_MEMORY, "%s: not enough memory to save", folder)
                   : save(&arena, folder, info, tensor, n, keep_last, err);
    arena_free(&arena);
    return s;
}

/* ---- opening ---- */

static Status read_info(Checkpoint *c, Err *err)
{
    const Safetensors *st = &c->file;
    const char *format = safetensors_meta(st, "format"), *step = safetensors_meta(st, "step");
    c->info.model_hash = safetensors_meta(st, "model_hash");
    c->info.state = safetensors_meta(st, "state");
    if (!format || strcmp(format, format_name))
        return err_set(err, NPC_ERR_INPUT, "%s: its format is '%.100s', expected '%s'", st->path,
                       format ? format : "", format_name);
    if (!step || !c->info.model_hash || !c->info.state)
        return err_set(err, NPC_ERR_INPUT, "%s: no checkpoint (step, model or state is missing)",
                       st->path);
    c->info.step = strtoull(step, NULL, 10);
    c->info.score = score_of(st);
    return NPC_OK;
}

Status checkpoint_open(Checkpoint *out, const char *path, Err *err)
{
    *out = (Checkpoint){0};
    NPC_TRY(safetensors_open(&out->file, path, err));
    Status s = verify_checksum(&out->file, err);
    if (s == NPC_OK)
        s = read_info(out, err);
    if (s != NPC_OK)
        checkpoint_close(out);
    return s;
}

void checkpoint_close(Checkpoint *c)
{
    safetensors_close(&c->file);
    *c = (Checkpoint){0};
}

/* Tries one file; false and a warning when it cannot be used. */
static bool try_open(Checkpoint *out, const char *folder, const char *name, CheckpointWarn warn,
                     void *user)
{
    char path[PATH_MAX];
    Err err = {0};
    if (path_in(path, folder, name, &err) == NPC_OK && checkpoint_open(out, path, &err) == NPC_OK)
        return true;
    if (warn)
        warn(user, err.text);
    return false;
}

static Status open_newest(Arena *a, Checkpoint *out, const char *folder, CheckpointWarn warn,
                          void *user, Err *err)
{
    StepFile *file;
    size_t n;
    char best[PATH_MAX];
    NPC_TRY(list_steps(a, folder, &file, &n, err));
    for (size_t i = 0; i < n; i++)
        if (try_open(out, folder, file[i].name, warn, user))
            return NPC_OK;
    NPC_TRY(path_in(best, folder, "best.safetensors", err));
    if (file_exists(best) && try_open(out, folder, "best.safetensors", warn, user))
        return NPC_OK;
    return err_set(err, NPC_ERR_INPUT, "%s: no %scheckpoint to go on from", folder,
                   n ? "undamaged " : "");
}

Status checkpoint_open_newest(Checkpoint *out, const char *folder, CheckpointWarn warn, void *user,
                              Err *err)
{
    Arena arena = {0};
    jmp_buf exhausted;
    arena.exhausted = &exhausted;
    *out = (Checkpoint){0};
    Status s = setjmp(exhausted)
                   ? err_set(err, NPC_ERR_MEMORY, "%s: not enough memory to list it", folder)
                   : open_newest(&arena, out, folder, warn, user, err);
    arena_free(&arena);
    return s;
}

static bool any_step(Arena *a, const char *folder)
{
    StepFile *file;
    size_t n;
    Err none = {0};
    return list_steps(a, folder, &file, &n, &none) == NPC_OK && n > 0;
}

bool checkpoint_exists(const char *folder)
{
    Arena arena = {0};
    jmp_buf exhausted;
    arena.exhausted = &exhausted;
    bool found = setjmp(exhausted) ? false : any_step(&arena, folder);
    arena_free(&arena);
    return found;
}

/* ---- restoring ---- */

enum { LISTED = 10 };

typedef struct Differences {
    Text list;
    size_t n;
} Differences;

static void differs(Differences *d, const char *name, const char *here, const char *there)
{
    if (d->n++ < LISTED)
        text_printf(&d->list, "\n  %.80s: %s in the checkpoint, %s here", name, there, here);
}

static bool same_shape(const SafetensorsEntry *e, const CheckpointTarget *t)
{
    return e->dtype == t->dtype && e->rank == t->rank &&
           (!e->rank || !memcmp(e->shape, t->shape, e->rank * sizeof *e->shape));
}

static void compare(Differences *d, const Checkpoint *c, const CheckpointTarget *target, size_t n)
{
    Arena *a = d->list.arena;
    Map names = {0};
    for (size_t i = 0; i < n; i++) {
        const CheckpointTarget *t = &target[i];
        SafetensorsEntry own = {.dtype = t->dtype, .rank = t->rank, .shape = t->shape};
        const SafetensorsEntry *e = safetensors_find(&c->file, t->name);
        map_put(a, &names, t->name, (void *)t);
        if (!e)
            differs(d, t->name, safetensors_entry_text(a, &own), "missing");
        else if (!same_shape(e, t))
            differs(d, t->name, safetensors_entry_text(a, &own), safetensors_entry_text(a, e));
    }
    for (size_t i = 0; i < c->file.n; i++)
        if (!map_get(&names, c->file.entry[i].name))
            differs(d, c->file.entry[i].name, "missing",
                    safetensors_entry_text(a, &c->file.entry[i]));
}

static Status restore(Arena *a, const Checkpoint *c, const char *model_hash,
                      const CheckpointTarget *target, size_t n, Err *err)
{
    Differences d = {.list = {.arena = a}};
    compare(&d, c, target, n);
    bool other = model_hash && strcmp(model_hash, c->info.model_hash);
    if (d.n > LISTED)
        text_printf(&d.list, "\n  and %zu more", d.n - LISTED);
    if (other || d.n)
        return err_set(
            err, NPC_ERR_INPUT,
            "%s: a checkpoint of another model: it belongs to model %.64s, this is model "
            "%.64s; %zu tensors differ%s%s",
            c->file.path, c->info.model_hash, model_hash ? model_hash : "(not compared)", d.n,
            d.n ? ":" : "", text_str(&d.list));
    for (size_t i = 0; i < n; i++) {
        const SafetensorsEntry *e = safetensors_find(&c->file, target[i].name);
        if (e->bytes && target[i].data)
            memcpy(target[i].data, e->data, e->bytes);
    }
    return NPC_OK;
}

Status checkpoint_restore(const Checkpoint *c, const char *model_hash,
                          const CheckpointTarget *target, size_t n, Err *err)
{
    Arena arena = {0};
    jmp_buf exhausted;
    arena.exhausted = &exhausted;
    Status s = setjmp(exhausted)
                   ? err_set(err, NPC_ERR_MEMORY, "%s: not enough memory to restore", c->file.path)
                   : restore(&arena, c, model_hash, target, n, err);
    arena_free(&arena);
    return s;
}
