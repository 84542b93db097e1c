/* What a run did, for people: report.md, scores.json, pictures. */
#ifndef NPC_RUNTIME_REPORT_H
#define NPC_RUNTIME_REPORT_H

#include "runtime/run_dir.h"
#include "runtime/score.h"

/* training.png and training.svg from log.jsonl. NPC_ERR_USAGE: built without pictures. */
Status report_training_pictures(const RunDir *run, const char *title, double steps_per_epoch,
                                Err *err);
/* traces.png and traces.svg: the best predicted neurons of one trial; [neurons frames] each. */
Status report_trace_pictures(const RunDir *run, const char *title, const float *predicted,
                             const float *recorded, size_t n_neurons, size_t frames, double rate,
                             Err *err);
/* Table of scores in markdown, and as JSON. */
void report_scores_table(Text *t, const TierScore *s, size_t n);
const char *report_scores_json(Arena *arena, const TierScore *s, size_t n);
/* report.md from what the folder holds: run.json, log.jsonl, and the scores (n may be 0: those of
 * scores.json's table stay away). */
Status report_write(const RunDir *run, const TierScore *s, size_t n, Err *err);

#endif
