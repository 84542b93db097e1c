#include "tests/sim/sim_env.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RULES = 8 };

typedef struct Rule {
    char call[64];
    long long at, seen;
} Rule;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char read_from[512]; /* value of NPC_SIM_FAIL that the rules were read from */
static Rule rule[MAX_RULES];
static int n_rules;
static char said[2048];

static void read_rules(const char *text)
{
    n_rules = 0;
    snprintf(read_from, sizeof read_from, "%s", text);
    for (const char *at = text; *at && n_rules < MAX_RULES;) {
        size_t len = strcspn(at, ",");
        const char *colon = memchr(at, ':', len);
        if (colon && (size_t)(colon - at) < sizeof rule[0].call) {
            Rule *r = &rule[n_rules++];
            snprintf(r->call, sizeof r->call, "%.*s", (int)(colon - at), at);
            r->at = strtoll(colon + 1, NULL, 10);
            r->seen = 0;
        } else if (len) {
            fprintf(stderr, "npc sim: NPC_SIM_FAIL: expected CALL:N, found '%.*s'\n", (int)len, at);
        }
        at += len + (at[len] == ',');
    }
}

/* Is `call` what the rule names, but for an ending Async? */
static bool names(const Rule *r, const char *call)
{
    size_t len = strlen(r->call);
    return !strncmp(call, r->call, len) && (!call[len] || !strcmp(call + len, "Async"));
}

bool sim_env_fails(const char *call)
{
    bool fails = false;
    if (sim_env_number("NPC_SIM_LOG", 0) && strcmp(call, "sticky"))
        fprintf(stderr, "npc sim: %s\n", call);
    pthread_mutex_lock(&lock);
    const char *text = getenv("NPC_SIM_FAIL");
    if (strncmp(text ? text : "", read_from, sizeof read_from - 1))
        read_rules(text ? text : "");
    for (int i = 0; i < n_rules; i++)
        if (names(&rule[i], call))
            fails |= ++rule[i].seen == rule[i].at;
    pthread_mutex_unlock(&lock);
    return fails;
}

void sim_env_reset(void)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_rules; i++)
        rule[i].seen = 0;
    pthread_mutex_unlock(&lock);
}

long long sim_env_number(const char *name, long long otherwise)
{
    const char *text = getenv(name);
    char *end;
    long long n = text ? strtoll(text, &end, 10) : -1;
    return text && *text && !*end && n >= 0 ? n : otherwise;
}

void sim_env_say(const char *format, ...)
{
    va_list args;
    pthread_mutex_lock(&lock);
    va_start(args, format);
    vsnprintf(said, sizeof said, format, args);
    va_end(args);
    fprintf(stderr, "npc sim: %s\n", said);
    pthread_mutex_unlock(&lock);
}

const char *sim_env_said(void)
{
    return said;
}
