/* "Did you mean": the candidate nearest to a word the user wrote.
 *
 *     Suggest near = suggest_for("batch_norm");
 *     suggest_offer(&near, "batchnorm");
 *     if (suggest_best(&near)) diag_help(..)
 *
 * Distance counts inserted, lost, changed and swapped letters; case and '_' are free. At most one
 * error per three letters is taken for a slip. Of equally near candidates the first one wins. */
#ifndef NPC_FRONTEND_SUGGEST_H
#define NPC_FRONTEND_SUGGEST_H

typedef struct Suggest {
    const char *word;
    const char *best; /* NULL: nothing near was offered */
    unsigned distance;
} Suggest;

Suggest suggest_for(const char *word);
void suggest_offer(Suggest *s, const char *candidate);
/* NULL: nothing near enough. */
const char *suggest_best(const Suggest *s);

/* Restricted Damerau-Levenshtein distance; words beyond 63 letters are infinitely far. */
unsigned suggest_distance(const char *a, const char *b);

#endif
