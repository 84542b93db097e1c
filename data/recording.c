#include "data/recording.h"

#include <stdlib.h>
#include <unistd.h>

#include "ir/base/text.h"
#include "data/trial.h"

enum {
    MAX_PATH_BYTES = 3800,
    MAX_SIDE = 4096, /* pixels */
    MAX_COLOURS = 16,
    MAX_FRAMES = 1 << 20, /* per trial: ten hours */
    MAX_NEURONS = 1 << 24,
    MAX_TRIALS = 1 << 20,
};

static const char *const TIER_NAMES[TIER_COUNT] = {
    [TIER_NONE] = "none",
    [TIER_TRAIN] = "train",
    [TIER_ORACLE] = "oracle",
    [TIER_VALIDATION] = "validation",
    [TIER_LIVE_MAIN] = "live_test_main",
    [TIER_LIVE_BONUS] = "live_test_bonus",
    [TIER_FINAL_MAIN] = "final_test_main",
    [TIER_FINAL_BONUS] = "final_test_bonus",
    [TIER_TEST] = "test",
    [TIER_FINAL_TEST] = "final_test",
};
static const char *const FOLDERS[VAR_COUNT] = {"videos", "responses", "behavior", "pupil_center"};

const char *tier_name(Tier tier)
{
    return TIER_NAMES[tier];
}

bool tier_parse(const char *name, Tier *out)
{
    for (int t = 0; t < TIER_COUNT; t++)
        if (!strcmp(name, TIER_NAMES[t])) {
            *out = (Tier)t;
            return true;
        }
    return false;
}

const char *variable_folder(Variable variable)
{
    return FOLDERS[variable];
}

const char *recording_folder(const Recording *r, Variable variable)
{
    return variable == VAR_VIDEO && r->is_images ? "images" : FOLDERS[variable];
}

void trial_path(const Recording *r, Variable v, uint32_t trial, char *out, size_t out_bytes)
{
    snprintf(out, out_bytes, "%s/data/%s/%u.npy", r->path, recording_folder(r, v), trial);
}

void finding_add(Findings *f, const char *path, const char *expected, const char *what, ...)
{
    va_list args;
    va_start(args, what);
    Text text = {.arena = f->arena};
    text_vprintf(&text, what, args);
    va_end(args);
    Finding row = {arena_strdup(f->arena, path), text_str(&text), arena_strdup(f->arena, expected)};
    vec_push(f->arena, &f->list, row);
}

/* An Err of the npy reader starts with "PATH: " and may end with "; expected ..", which says more
 * than `expected`; a finding holds the three apart. Memory that ended is nothing wrong with the
 * file. */
static void finding_from_err(Findings *f, const char *path, const char *expected, const Err *err)
{
    if (err->status == NPC_ERR_MEMORY)
        arena_exhausted(f->arena);
    static const char split[] = "; expected ";
    size_t n = strlen(path);
    bool has = !strncmp(err->text, path, n) && !strncmp(err->text + n, ": ", 2);
    const char *what = err->text + (has ? n + 2 : 0), *own = strstr(what, split);
    finding_add(f, path, own ? own + strlen(split) : expected, "%.*s",
                (int)(own ? own - what : (ptrdiff_t)strlen(what)), what);
}

static char *join(Arena *arena, const char *folder, const char *name)
{
    return arena_printf(arena, "%s/%s", folder, name);
}

/* ---- what a recording consists of ---------------------------------------------------------- */

static void inspect_tiers(Recording *r, Arena *arena, Findings *f)
{
    const char *path = join(arena, r->path, "meta/trials/tiers.npy");
    const char *expected = "a string per trial, (trials,)";
    Npy a;
    Err err = {0};
    if (npy_open(&a, path, &err) != NPC_OK) {
        finding_from_err(f, path, expected, &err);
        return;
    }
    char text[200], type[24];
    if (a.head.type != NPY_UNICODE || a.head.rank != 1 || a.head.elems > MAX_TRIALS) {
        finding_add(f, path, expected, "%s %s", npy_type_text(&a.head, type),
                    npy_shape_text(&a.head, text));
    } else if (!a.head.elems) {
        finding_add(f, path, "at least one trial", "no trials");
    } else {
        r->n_trials = (uint32_t)a.head.elems;
        r->trials = ARENA_ARRAY(arena, Trial, r->n_trials);
        for (uint32_t i = 0; i < r->n_trials; i++) {
            r->trials[i].valid = -1;
            if (!npy_text(&a, i, text, sizeof text) || !tier_parse(text, &r->trials[i].tier))
                finding_add(f, path,
                            r->is_images ? "train, validation, test, final_test or none"
                                         : "train, oracle, live_test_main, live_test_bonus, "
                                           "final_test_main, final_test_bonus or none",
                            "trial %u has the tier '%s'", i, text);
        }
    }
    npy_close(&a);
}

static void inspect_units(Recording *r, Arena *arena, Findings *f)
{
    const char *path = join(arena, r->path, "meta/neurons/unit_ids.npy");
    char shape[200], type[24];
    Npy a;
    Err err = {0};
    if (!file_exists(path))
        return;
    if (npy_open(&a, path, &err) != NPC_OK) {
        finding_from_err(f, path, "an integer per neuron", &err);
        return;
    }
    const NpyHeader *h = &a.head;
    if (h->rank != 1 || h->type > NPY_U64 || h->type == NPY_BOOL || !h->elems ||
        h->elems > MAX_NEURONS) {
        finding_add(f, path, "an integer per neuron, (neurons,)", "%s %s", npy_type_text(h, type),
                    npy_shape_text(h, shape));
    } else {
        int64_t *ids = ARENA_ARRAY(arena, int64_t, h->elems);
        for (uint64_t i = 0; i < h->elems; i++)
            ids[i] = npy_integer(&a, i);
        r->unit_ids = ids;
        r->n_neurons = (uint32_t)h->elems;
    }
    npy_close(&a);
}

/* Which image a trial showed; files of either data set. */
static void inspect_image_ids(Recording *r, Arena *arena, Findings *f)
{
    static const char *const names[] = {"frame_image_id", "colorframeprojector_image_id"};
    for (int i = 0; i < 2 && r->is_images && !r->image_ids; i++) {
        const char *path = arena_printf(arena, "%s/meta/trials/%s.npy", r->path, names[i]);
        const char *expected = "an integer per trial, (trials,)";
        char shape[200], type[24];
        Npy a;
        Err err = {0};
        if (!file_exists(path))
            continue;
        if (npy_open(&a, path, &err) != NPC_OK) {
            finding_from_err(f, path, expected, &err);
            continue;
        }
        if (a.head.rank != 1 || !npy_is_number(&a.head) || a.head.elems != r->n_trials) {
            finding_add(f, path, expected, "%s %s", npy_type_text(&a.head, type),
                        npy_shape_text(&a.head, shape));
        } else {
            int64_t *ids = ARENA_ARRAY(arena, int64_t, (size_t)r->n_trials + 1);
            for (uint32_t k = 0; k < r->n_trials; k++)
                ids[k] = (int64_t)npy_double(&a, k);
            r->image_ids = ids;
        }
        npy_close(&a);
    }
}

static void inspect_coordinates(Recording *r, Arena *arena, Findings *f)
{
    const char *path = join(arena, r->path, "meta/neurons/cell_motor_coordinates.npy");
    char shape[200], type[24], expected[64];
    Npy a;
    Err err = {0};
    if (!file_exists(path))
        return;
    snprintf(expected, sizeof expected, "x, y, z per neuron, (%u, 3), or x, y", r->n_neurons);
    if (npy_open(&a, path, &err) != NPC_OK) {
        finding_from_err(f, path, expected, &err);
        return;
    }
    const NpyHeader *h = &a.head;
    if (h->rank != 2 || !npy_is_number(h) || h->shape[0] != r->n_neurons ||
        (h->shape[1] != 2 && h->shape[1] != 3)) {
        finding_add(f, path, expected, "%s %s", npy_type_text(h, type), npy_shape_text(h, shape));
    } else {
        float *xyz = ARENA_ARRAY(arena, float, h->elems);
        npy_all_floats(&a, xyz);
        r->coordinates = xyz;
        r->n_coordinates = (uint32_t)h->shape[1];
    }
    npy_close(&a);
}

/* Number in "17.npy"; UINT32_MAX for any other name. */
static uint32_t trial_number(const char *name)
{
    char *end, again[32];
    unsigned long v = strtoul(name, &end, 10);
    if (strcmp(end, ".npy") || v >= MAX_TRIALS)
        return UINT32_MAX;
    snprintf(again, sizeof again, "%lu.npy", v); /* no signs, blanks or leading zeros */
    return strcmp(again, name) ? UINT32_MAX : (uint32_t)v;
}

/* Every trial has its file in every folder, and every file its trial. */
static void inspect_folder(const Recording *r, Variable v, Arena *arena, Findings *f)
{
    char folder[4096], expected[64];
    snprintf(folder, sizeof folder, "%s/data/%s", r->path, recording_folder(r, v));
    snprintf(expected, sizeof expected, "the files 0.npy to %u.npy",
             r->n_trials ? r->n_trials - 1 : 0);
    Err err = {0};
    const char **names;
    size_t n_names;
    if (!file_is_folder(folder)) {
        finding_add(f, folder, r->n_trials ? expected : "a file per trial", "missing folder");
        return;
    }
    if (file_list(arena, folder, &names, &n_names, &err) != NPC_OK) {
        finding_from_err(f, folder, expected, &err);
        return;
    }
    unsigned char *seen = ARENA_ARRAY(arena, unsigned char, (size_t)r->n_trials + 1);
    uint32_t n_files = 0, n_extra = 0, n_missing = 0;
    for (size_t i = 0; i < n_names; i++) {
        uint32_t t = trial_number(names[i]);
        n_files += t != UINT32_MAX;
        n_extra += t != UINT32_MAX && t >= r->n_trials;
        if (t < r->n_trials)
            seen[t] = 1;
    }
    if (!r->n_trials) /* the tiers are unreadable and already reported */
        return;
    for (uint32_t t = 0; t < r->n_trials; t++)
        n_missing += !seen[t];
    if (n_missing == r->n_trials && !n_extra) {
        finding_add(f, folder, expected, "holds no trial");
        return;
    }
    if (n_files != r->n_trials)
        finding_add(f, folder, expected, "%u trials here, %u in meta/trials/tiers.npy", n_files,
                    r->n_trials);
    for (uint32_t t = 0; t < r->n_trials; t++)
        if (!seen[t])
            finding_add(f, arena_printf(arena, "%s/%u.npy", folder, t), expected, "missing file");
}

/* ---- headers of the trials ------------------------------------------------------------------ */

void trial_add_time(const Recording *r, NpyHeader *h)
{
    if (!r->is_images || h->rank == NPY_MAX_RANK)
        return;
    h->shape[h->rank] = 1;
    h->stride[h->rank++] = 1;
}

bool trial_header_fits(const Recording *r, Variable v, const NpyHeader *h, char expected[static 96])
{
    const char *number = "float32 or float64", *frames = r->is_images ? "" : ", frames";
    uint64_t rows[3] = {r->height, r->width};
    uint32_t n_rows = 1;
    if (v == VAR_VIDEO && r->is_images) {
        n_rows = 3;
        rows[0] = r->colours;
        rows[1] = r->height;
        rows[2] = r->width;
        if (r->height)
            snprintf(expected, 96, "%s (%u, %u, %u)", number, r->colours, r->height, r->width);
        else
            snprintf(expected, 96, "%s (colours, rows, columns)", number);
    } else if (v == VAR_VIDEO) {
        n_rows = 2;
        snprintf(expected, 96, "%s (%u, %u, frames)", number, r->height, r->width);
    } else {
        rows[0] = v == VAR_RESPONSE ? r->n_neurons : v == VAR_BEHAVIOR ? r->n_behaviors : 2;
        snprintf(expected, 96, "%s (%llu%s)", number, (unsigned long long)rows[0], frames);
    }
    if ((h->type != NPY_F32 && h->type != NPY_F64) || h->rank != n_rows + 1 ||
        h->shape[n_rows] > MAX_FRAMES)
        return false;
    for (uint32_t i = 0; i < n_rows; i++)
        if (h->shape[i] != rows[i])
            return false;
    return true;
}

/* The first readable trial says how large frames are, and how many neurons without unit ids. */
static void learn_sizes(Recording *r, Variable v, const NpyHeader *h)
{
    uint32_t side = r->is_images; /* the picture's sides stand behind its colours */
    if (v == VAR_VIDEO && !r->height && h->rank == 3 + side && h->shape[side] &&
        h->shape[side + 1] && h->shape[side] <= MAX_SIDE && h->shape[side + 1] <= MAX_SIDE) {
        r->height = (uint32_t)h->shape[side];
        r->width = (uint32_t)h->shape[side + 1];
        if (side && h->shape[0] >= 1 && h->shape[0] <= MAX_COLOURS)
            r->colours = (uint32_t)h->shape[0];
    }
    if (v == VAR_RESPONSE && !r->n_neurons && h->rank == 2 && h->shape[0] &&
        h->shape[0] <= MAX_NEURONS)
        r->n_neurons = (uint32_t)h->shape[0];
}

static void inspect_trial(Recording *r, uint32_t trial, Findings *f)
{
    bool has_frames = false;
    const char *first_folder = NULL;
    for (int v = 0; v < VAR_COUNT; v++) {
        char path[4096], expected[96], shape[200], type[24];
        NpyHeader h;
        Err err = {0};
        trial_path(r, (Variable)v, trial, path, sizeof path);
        if (access(path, F_OK)) /* reported by inspect_folder */
            continue;
        if (npy_read_header(&h, path, &err) != NPC_OK) {
            finding_from_err(f, path, "a readable npy array", &err);
            continue;
        }
        npy_shape_text(&h, shape);
        trial_add_time(r, &h);
        learn_sizes(r, (Variable)v, &h);
        if (!trial_header_fits(r, (Variable)v, &h, expected)) {
            finding_add(f, path, expected, "%s %s", npy_type_text(&h, type), shape);
            continue;
        }
        uint32_t frames = (uint32_t)h.shape[h.rank - 1];
        if (!has_frames) {
            r->trials[trial].frames = frames;
            has_frames = true;
            first_folder = recording_folder(r, (Variable)v);
            if (!frames)
                finding_add(f, path, "at least one frame", "no frames");
        } else if (frames != r->trials[trial].frames) {
            snprintf(expected, sizeof expected, "%u frames, as in %s", r->trials[trial].frames,
                     first_folder);
            finding_add(f, path, expected, "%u frames", frames);
        }
    }
}

Recording *recording_inspect(Arena *arena, const char *path, Findings *f)
{
    Recording *r = ARENA_NEW(arena, Recording);
    r->colours = 1;
    r->n_behaviors = 2;
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    r->path = arena_strndup(arena, path, n);
    const char *slash = strrchr(r->path, '/');
    r->name = slash && slash[1] ? slash + 1 : r->path;
    if (n > MAX_PATH_BYTES) {
        finding_add(f, r->path, "at most 3800 bytes", "path too long");
        return r;
    }
    if (!file_is_folder(r->path)) {
        finding_add(f, r->path, "a folder with data/ and meta/", "not a folder");
        return r;
    }
    r->is_images = file_is_folder(join(arena, r->path, "data/images")) &&
                   !file_is_folder(join(arena, r->path, "data/videos"));
    r->n_behaviors = r->is_images ? 3 : 2;
    inspect_tiers(r, arena, f);
    inspect_units(r, arena, f);
    inspect_image_ids(r, arena, f);
    for (int v = 0; v < VAR_COUNT; v++)
        inspect_folder(r, (Variable)v, arena, f);
    for (uint32_t t = 0; t < r->n_trials; t++)
        if (r->trials[t].tier != TIER_NONE)
            inspect_trial(r, t, f);
    inspect_coordinates(r, arena, f);
    return r;
}

/* ---- opening -------------------------------------------------------------------------------- */

Status recording_open(Recording **out, Arena *arena, const char *path, Err *err)
{
    Findings f = {.arena = arena};
    *out = recording_inspect(arena, path, &f);
    if (!f.list.len)
        return NPC_OK;
    const Finding *first = &f.list.at[0];
    char more[80] = "";
    if (f.list.len > 1)
        snprintf(more, sizeof more, " (and %u more findings: npc data info)", f.list.len - 1);
    return err_set(err, NPC_ERR_INPUT, "%.900s: %.500s; expected %.400s%s", first->path,
                   first->what, first->expected, more);
}

static bool is_recording(Arena *arena, const char *path)
{
    return file_is_folder(join(arena, path, "data")) || file_is_folder(join(arena, path, "meta"));
}

Status recordings_find(Arena *arena, const char *dir, const char ***paths, size_t *n, Err *err)
{
    VEC(const char *) found = {0};
    if (file_is_folder(dir) && is_recording(arena, dir)) {
        vec_push(arena, &found, arena_strdup(arena, dir));
    } else {
        const char **names;
        size_t n_names;
        NPC_TRY(file_list(arena, dir, &names, &n_names, err));
        for (size_t i = 0; i < n_names; i++) {
            const char *path = join(arena, dir, names[i]);
            if (names[i][0] != '.' && strcmp(names[i], "truth") && file_is_folder(path) &&
                is_recording(arena, path))
                vec_push(arena, &found, path);
        }
    }
    if (!found.len)
        return err_set(err, NPC_ERR_INPUT,
                       "%s: no recording here; expected folders with data/ and meta/", dir);
    *paths = found.at;
    *n = found.len;
    return NPC_OK;
}

Status recordings_open(Recordings *out, Arena *arena, const char *dir, Err *err)
{
    const char **paths;
    size_t n;
    *out = (Recordings){0};
    NPC_TRY(recordings_find(arena, dir, &paths, &n, err));
    out->at = ARENA_ARRAY(arena, Recording *, n);
    for (size_t i = 0; i < n; i++) {
        NPC_TRY(recording_open(&out->at[i], arena, paths[i], err));
        out->len++;
    }
    return NPC_OK;
}

uint32_t recording_trials(const Recording *r, unsigned tiers, Arena *arena, uint32_t **out)
{
    uint32_t n = 0;
    tiers &= ~TIER_BIT(TIER_NONE);
    *out = ARENA_ARRAY(arena, uint32_t, (size_t)r->n_trials + 1);
    for (uint32_t t = 0; t < r->n_trials; t++)
        if (tiers & TIER_BIT(r->trials[t].tier))
            (*out)[n++] = t;
    return n;
}

Status recording_statistic(const Recording *r, Variable v, const char *stat, Arena *arena,
                           float **out, uint32_t *frames, Err *err)
{
    char path[4200], expected[96], shape[200], type[24];
    Npy a;
    snprintf(path, sizeof path, "%s/meta/statistics/%s/all/%.60s.npy", r->path, FOLDERS[v], stat);
    NPC_TRY(npy_open(&a, path, err));
    if (!trial_header_fits(r, v, &a.head, expected)) {
        Status s = err_set(err, NPC_ERR_INPUT, "%s: %s %s; expected %s", path,
                           npy_type_text(&a.head, type), npy_shape_text(&a.head, shape), expected);
        npy_close(&a);
        return s;
    }
    *frames = (uint32_t)a.head.shape[a.head.rank - 1];
    *out = ARENA_ARRAY(arena, float, a.head.elems);
    npy_all_floats(&a, *out);
    npy_close(&a);
    return NPC_OK;
}
