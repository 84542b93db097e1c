/* What `npc compile` tells about a model: sizes, work, kernels, memory, times. */
#ifndef NPC_RUNTIME_COMPILE_REPORT_H
#define NPC_RUNTIME_COMPILE_REPORT_H

#include "runtime/cost.h"

enum { COMPILE_MAX_PROGRAMS = 4, COMPILE_MAX_TIMES = 16 };

typedef struct CompileTime {
    const char *stage;
    double seconds;
} CompileTime;

typedef struct CompileReport {
    const Model *model;
    const Plan *plan[COMPILE_MAX_PROGRAMS];
    int n_plans;
    CompileTime time[COMPILE_MAX_TIMES]; /* printed when there are any */
    int n_times;
    const char *package; /* path written, or NULL */
} CompileReport;

void compile_report_print(const CompileReport *r, FILE *out);
/* One JSON object. */
void compile_report_json(const CompileReport *r, FILE *out);

/* 16931237888 as "16 931 237 888". */
enum { GROUPED_TEXT = 32 };
void grouped_text(char out[GROUPED_TEXT], int64_t n);

#endif
