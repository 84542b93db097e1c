/* The module libnpc_hdf5.so: reads a session through the HDF5 library. */
#include "data/nwb.h"

#include <math.h>
#include <stdlib.h>

#include "ir/base/file.h"

#include <hdf5.h>

#define PIPELINE "processing/brain_observatory_pipeline/"
#define PLANE PIPELINE "ImageSegmentation/imaging_plane_1/"
enum { MAX_DIMS = 4 };

typedef struct Reader {
    Arena *arena;
    const char *file;
    hid_t id;
} Reader;

/* A data set that is open: its sizes, and how to close it. */
typedef struct Data {
    hid_t id;
    int rank;
    hsize_t size[MAX_DIMS];
    uint64_t elems;
} Data;

/* H5Lexists asks for the last part of a path only. */
static bool has(const Reader *r, const char *path)
{
    char part[300];
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        if (H5Lexists(r->id, part, H5P_DEFAULT) <= 0)
            return false;
    }
    return H5Lexists(r->id, path, H5P_DEFAULT) > 0;
}

static Status open_data(const Reader *r, const char *path, Data *out, Err *err)
{
    *out = (Data){.id = -1, .elems = 1};
    if (!has(r, path) || (out->id = H5Dopen2(r->id, path, H5P_DEFAULT)) < 0)
        return err_set(err, NPC_ERR_INPUT,
                       "%s: has no '%s'; expected a session of the Allen Brain "
                       "Observatory with natural scenes",
                       r->file, path);
    hid_t space = H5Dget_space(out->id);
    out->rank = H5Sget_simple_extent_ndims(space);
    if (out->rank >= 0 && out->rank <= MAX_DIMS)
        H5Sget_simple_extent_dims(space, out->size, NULL);
    H5Sclose(space);
    if (out->rank < 0 || out->rank > MAX_DIMS) {
        H5Dclose(out->id);
        return err_set(err, NPC_ERR_INPUT, "%s: '%s' has %d axes", r->file, path, out->rank);
    }
    for (int i = 0; i < out->rank; i++)
        out->elems *= out->size[i];
    return NPC_OK;
}

/* The whole data set as `type`; sizes in `data`. */
static Status read_all(const Reader *r, const char *path, hid_t type, size_t bytes, Data *data,
                       void *at_pointer, Err *err)
{
    NPC_TRY(open_data(r, path, data, err));
    void *at = arena_array(r->arena, (size_t)data->elems + 1, bytes);
    herr_t bad = H5Dread(data->id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, at);
    H5Dclose(data->id);
    memcpy(at_pointer, &at, sizeof at);
    return bad < 0
               ? err_set(err, NPC_ERR_INPUT, "%s: '%s' cannot be read as numbers", r->file, path)
               : NPC_OK;
}

static Status wrong_shape(const Reader *r, const char *path, const char *expected, Err *err)
{
    return err_set(err, NPC_ERR_INPUT, "%s: '%s' has another shape; expected %s", r->file, path,
                   expected);
}

/* Strings of fixed or variable length; each in the arena. */
static Status read_strings(const Reader *r, const char *path, const char ***out, uint64_t *n,
                           Err *err)
{
    Data d;
    NPC_TRY(open_data(r, path, &d, err));
    hid_t type = H5Dget_type(d.id);
    bool is_text = H5Tget_class(type) == H5T_STRING,
         varies = is_text && H5Tis_variable_str(type) > 0;
    size_t bytes = is_text ? H5Tget_size(type) : 0;
    char *raw = arena_alloc(r->arena, (size_t)d.elems * (bytes ? bytes : 1) + 1);
    bool read = is_text && H5Dread(d.id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, raw) >= 0;
    *n = d.elems;
    *out = ARENA_ARRAY(r->arena, const char *, (size_t)d.elems + 1);
    for (uint64_t i = 0; read && i < d.elems; i++) {
        char *s = NULL;
        if (varies)
            memcpy(&s, raw + i * bytes, sizeof s);
        (*out)[i] = varies
                        ? arena_strdup(r->arena, s ? s : "")
                        : arena_strndup(r->arena, raw + i * bytes, strnlen(raw + i * bytes, bytes));
        if (varies)
            free(s);
    }
    H5Tclose(type);
    H5Dclose(d.id);
    return read ? NPC_OK : err_set(err, NPC_ERR_INPUT, "%s: '%s' is no text", r->file, path);
}

/* ---- the parts of a session ---- */

static Status read_activity(const Reader *r, NwbSession *s, Err *err)
{
    static const char *const traces = PIPELINE "DfOverF/imaging_plane_1/data";
    static const char *const times = PIPELINE "DfOverF/imaging_plane_1/timestamps";
    Data d, t, c;
    NPC_TRY(read_all(r, traces, H5T_NATIVE_FLOAT, sizeof(float), &d, &s->dff, err));
    NPC_TRY(read_all(r, times, H5T_NATIVE_DOUBLE, sizeof(double), &t, &s->time, err));
    NPC_TRY(read_all(r, PIPELINE "ImageSegmentation/cell_specimen_ids", H5T_NATIVE_INT64,
                     sizeof(int64_t), &c, &s->cells, err));
    if (d.rank != 2 || !d.elems || d.size[0] > UINT32_MAX || t.elems != d.size[1] ||
        c.elems != d.size[0])
        return wrong_shape(r, traces, "(cells, samples), a cell per specimen id, a sample per time",
                           err);
    s->neurons = (uint32_t)d.size[0];
    s->samples = d.size[1];
    return NPC_OK;
}

/* Centres of the cells' masks, and the depth. */
static Status read_places(const Reader *r, NwbSession *s, Err *err)
{
    const char **name, **depth;
    uint64_t n, one;
    NPC_TRY(read_strings(r, PLANE "roi_list", &name, &n, err));
    NPC_TRY(
        read_strings(r, "general/optophysiology/imaging_plane_1/imaging depth", &depth, &one, err));
    if (n != s->neurons)
        return wrong_shape(r, PLANE "roi_list", "a name per cell", err);
    s->coordinates = ARENA_ARRAY(r->arena, float, 3 * (size_t)s->neurons);
    for (uint32_t k = 0; k < s->neurons; k++) {
        const char *path = arena_printf(r->arena, PLANE "%s/pix_mask", name[k]);
        double *xy, sum[2] = {0};
        Data d;
        NPC_TRY(read_all(r, path, H5T_NATIVE_DOUBLE, sizeof(double), &d, &xy, err));
        if (d.rank != 2 || d.size[1] < 2 || !d.size[0])
            return wrong_shape(r, path, "(pixels, 2): x, y", err);
        for (hsize_t i = 0; i < d.size[0]; i++)
            for (int a = 0; a < 2; a++)
                sum[a] += xy[i * d.size[1] + (hsize_t)a];
        s->coordinates[3 * k] = (float)(sum[0] / (double)d.size[0]);
        s->coordinates[3 * k + 1] = (float)(sum[1] / (double)d.size[0]);
        s->coordinates[3 * k + 2] = one ? strtof(depth[0], NULL) : 0; /* "175 microns" */
    }
    return NPC_OK;
}

static Status read_scenes(const Reader *r, NwbSession *s, Err *err)
{
    static const char *const shown = "stimulus/presentation/natural_scenes_stimulus/data";
    static const char *const frames =
        "stimulus/presentation/natural_scenes_stimulus/frame_duration";
    static const char *const stack = "stimulus/templates/natural_scenes_image_stack/data";
    Data d, f, i;
    int64_t *ends;
    NPC_TRY(read_all(r, shown, H5T_NATIVE_INT64, sizeof(int64_t), &d, &s->scene, err));
    NPC_TRY(read_all(r, frames, H5T_NATIVE_INT64, sizeof(int64_t), &f, &ends, err));
    NPC_TRY(read_all(r, stack, H5T_NATIVE_UCHAR, 1, &i, &s->scenes, err));
    if (f.rank != 2 || f.size[0] != d.elems || f.size[1] < 1 || !d.elems || d.elems > UINT32_MAX)
        return wrong_shape(r, frames, "(presentations, 2): first and last sample", err);
    if (i.rank != 3 || !i.elems || i.size[0] > 1u << 20 || i.size[1] > 1u << 16 ||
        i.size[2] > 1u << 16)
        return wrong_shape(r, stack, "(scenes, rows, columns)", err);
    s->n_shown = (uint32_t)d.elems;
    s->n_scenes = (uint32_t)i.size[0];
    s->rows = (uint32_t)i.size[1];
    s->columns = (uint32_t)i.size[2];
    s->start = ARENA_ARRAY(r->arena, uint64_t, s->n_shown);
    for (uint32_t k = 0; k < s->n_shown; k++) {
        int64_t start = ends[k * f.size[1]];
        if (start < 0 || (uint64_t)start >= s->samples || s->scene[k] < -1 ||
            s->scene[k] >= (int64_t)s->n_scenes)
            return err_set(err, NPC_ERR_INPUT,
                           "%s: presentation %u shows scene %lld from sample %lld on; there are %u "
                           "scenes and %llu samples",
                           r->file, k, (long long)s->scene[k], (long long)start, s->n_scenes,
                           (unsigned long long)s->samples);
        s->start[k] = (uint64_t)start;
    }
    return NPC_OK;
}

static Status read_series(const Reader *r, const char *group, uint32_t columns, NwbSeries *out,
                          Err *err)
{
    Data d, t;
    const char *path = arena_printf(r->arena, "%s/data", group);
    *out = (NwbSeries){.columns = columns};
    if (!has(r, group))
        return NPC_OK;
    NPC_TRY(read_all(r, path, H5T_NATIVE_FLOAT, sizeof(float), &d, &out->value, err));
    NPC_TRY(read_all(r, arena_printf(r->arena, "%s/timestamps", group), H5T_NATIVE_DOUBLE,
                     sizeof(double), &t, &out->time, err));
    if (d.elems != t.elems * columns)
        return wrong_shape(r, path, columns == 1 ? "a value per time" : "two values per time", err);
    out->n = t.elems;
    return NPC_OK;
}

static Status read_session(const Reader *r, NwbSession *s, Err *err)
{
    const char **id;
    uint64_t n;
    NPC_TRY(read_strings(r, "general/session_id", &id, &n, err));
    s->id = n ? id[0] : "session";
    NPC_TRY(read_activity(r, s, err));
    NPC_TRY(read_places(r, s, err));
    NPC_TRY(read_scenes(r, s, err));
    NPC_TRY(read_series(r, PIPELINE "BehavioralTimeSeries/running_speed", 1, &s->running, err));
    NPC_TRY(read_series(r, PIPELINE "PupilTracking/pupil_size", 1, &s->pupil_size, err));
    return read_series(r, PIPELINE "EyeTracking/pupil_location", 2, &s->pupil, err);
}

__attribute__((visibility("default"))) Status nwb_read_hdf5(NwbSession *out, Arena *arena,
                                                            const char *file, Err *err)
{
    Reader r = {arena, file, -1};
    *out = (NwbSession){0};
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL); /* what went wrong is said here */
    r.id = H5Fopen(file, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (r.id < 0)
        return err_set(err, NPC_ERR_INPUT, "%s: cannot be read as HDF5; expected an .nwb file",
                       file);
    Status s = read_session(&r, out, err);
    H5Fclose(r.id);
    return s;
}
