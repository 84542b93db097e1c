/* The report of data_check.c as text and as JSON. */
#include <jansson.h>

#include "data/data_check.h"

static void print_moments(FILE *out, const char *label, const Moments *m)
{
    if (m->n)
        fprintf(out, "  %-12s mean %.4g, sd %.4g, %.4g to %.4g\n", label, m->mean, m->sd, m->min,
                m->max);
    else
        fprintf(out, "  %-12s none\n", label);
}

static void print_recording(const RecordingInfo *r, FILE *out)
{
    fprintf(out, "%s\n", r->name);
    fprintf(out, "  %-12s %u\n", "neurons", r->n_neurons);
    fprintf(out, "  %-12s %u", "trials", r->n_trials);
    const char *join = ": ";
    for (int k = 0; k < TIER_COUNT; k++) { /* tier none, first in the enumeration, comes last */
        Tier t = (Tier)((k + 1) % TIER_COUNT);
        if (!r->tier_trials[t])
            continue;
        fprintf(out, "%s%s %u", join, tier_name(t), r->tier_trials[t]);
        if (r->tier_withheld[t])
            fprintf(out, " (%u withheld)", r->tier_withheld[t]);
        join = ", ";
    }
    if (r->is_images) {
        if (r->n_images)
            fprintf(out, "\n  %-12s %u", "images", r->n_images);
        fprintf(out, "\n  %-12s %u x %u pixels, %u colour%s\n", "image size", r->height, r->width,
                r->colours, r->colours == 1 ? "" : "s");
    } else {
        fprintf(out, "\n  %-12s %u to %u valid, median %u\n", "frames", r->frames_min,
                r->frames_max, r->frames_median);
        fprintf(out, "  %-12s %u x %u pixels\n", "video size", r->height, r->width);
    }
    print_moments(out, "grey level", &r->video);
    print_moments(out, "responses", &r->response);
    print_moments(out, "pupil size", &r->behavior[0]);
    if (r->is_images)
        print_moments(out, "pupil change", &r->behavior[1]);
    print_moments(out, "running", &r->behavior[r->n_behaviors - 1]);
    print_moments(out, "pupil x", &r->pupil[0]);
    print_moments(out, "pupil y", &r->pupil[1]);
    if (r->missing_statistics[0])
        fprintf(out, "  %-12s missing %s\n", "statistics", r->missing_statistics);
    if (r->n_findings)
        fprintf(out, "  %-12s %u\n", "findings", r->n_findings);
}

void data_report_print(const DataReport *r, FILE *out)
{
    for (uint32_t i = 0; i < r->n_recordings; i++)
        print_recording(&r->recordings[i], out);
    for (uint32_t i = 0; i < r->findings.list.len; i++) {
        const Finding *f = &r->findings.list.at[i];
        fprintf(out, "%s: %s; expected %s\n", f->path, f->what, f->expected);
    }
}

static json_t *moments_json(const Moments *m)
{
    if (!m->n)
        return json_null();
    return json_pack("{s:f, s:f, s:f, s:f, s:I}", "mean", m->mean, "sd", m->sd, "min", m->min,
                     "max", m->max, "n", (json_int_t)m->n);
}

/* File names may hold any bytes; JSON holds UTF-8 only. NULL when memory ends, as everything else
 * that makes JSON here. */
static json_t *text_json(const char *s)
{
    json_t *j = json_string(s);
    if (j)
        return j;
    char clean[4096];
    size_t n = 0;
    for (; *s && n + 1 < sizeof clean; s++)
        clean[n++] = (unsigned char)*s < 0x80 ? *s : '?';
    return json_stringn(clean, n);
}

static json_t *tiers_json(const uint32_t trials[TIER_COUNT], bool with_zeros)
{
    json_t *tiers = json_object();
    bool bad = false;
    for (int t = 0; t < TIER_COUNT; t++)
        if (trials[t] || with_zeros)
            bad |= json_object_set_new(tiers, tier_name((Tier)t), json_integer(trials[t])) != 0;
    if (!bad)
        return tiers;
    json_decref(tiers);
    return NULL;
}

static json_t *behavior_json(const RecordingInfo *r)
{
    if (r->n_behaviors == 3)
        return json_pack("[o, o, o]", moments_json(&r->behavior[0]), moments_json(&r->behavior[1]),
                         moments_json(&r->behavior[2]));
    return json_pack("[o, o]", moments_json(&r->behavior[0]), moments_json(&r->behavior[1]));
}

static json_t *recording_json(const RecordingInfo *r)
{
    return json_pack(
        "{s:o, s:o, s:s, s:i, s:i, s:i, s:i, s:o, s:o, s:{s:i, s:i, s:i}, s:[i, i], s:o, s:o, s:o, "
        "s:[o, o], s:s, s:i}",
        "name", text_json(r->name), "path", text_json(r->path), "kind",
        r->is_images ? "images" : "films", "images", (int)r->n_images, "colours", (int)r->colours,
        "neurons", (int)r->n_neurons, "trials", (int)r->n_trials, "tiers",
        tiers_json(r->tier_trials, true), "withheld", tiers_json(r->tier_withheld, false),
        "valid_frames", "min", (int)r->frames_min, "median", (int)r->frames_median, "max",
        (int)r->frames_max, "frame_size", (int)r->height, (int)r->width, "video",
        moments_json(&r->video), "responses", moments_json(&r->response), "behavior",
        behavior_json(r), "pupil_center", moments_json(&r->pupil[0]), moments_json(&r->pupil[1]),
        "missing_statistics", r->missing_statistics, "findings", (int)r->n_findings);
}

static json_t *finding_json(const Finding *f)
{
    return json_pack("{s:o, s:o, s:o}", "path", text_json(f->path), "what", text_json(f->what),
                     "expected", text_json(f->expected));
}

static json_t *report_json(const DataReport *r)
{
    json_t *recordings = json_array(), *findings = json_array();
    bool bad = false;
    for (uint32_t i = 0; i < r->n_recordings; i++)
        bad |= json_array_append_new(recordings, recording_json(&r->recordings[i])) != 0;
    for (uint32_t i = 0; i < r->findings.list.len; i++)
        bad |= json_array_append_new(findings, finding_json(&r->findings.list.at[i])) != 0;
    json_t *all = json_pack("{s:o, s:o}", "recordings", recordings, "findings", findings);
    if (!bad)
        return all;
    json_decref(all);
    return NULL;
}

Status data_report_print_json(const DataReport *r, FILE *out, Err *err)
{
    json_t *all = report_json(r);
    bool bad = !all || json_dumpf(all, out, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(all);
    if (bad)
        return err_set(err, NPC_ERR_MEMORY, "%s: not enough memory to report", r->dir);
    fputc('\n', out);
    return NPC_OK;
}
