/* A recipe as text, every setting spelled out; and the table of settings for the reference. */
#include "ir/recipe_fields.h"

static void print_duration(Text *t, int64_t epochs, int64_t steps)
{
    text_printf(t, "%lld %s", (long long)(steps ? steps : epochs), steps ? "steps" : "epochs");
}

static void print_string(Text *t, const char *s)
{
    text_char(t, '"');
    for (; *s; s++) {
        if (strchr("\"\\{}", *s))
            text_char(t, '\\');
        text_char(t, *s);
    }
    text_char(t, '"');
}

static void print_channels(Text *t, const Recipe *r)
{
    static const char *const words[] = {"video", "behavior", "pupil"};
    text_char(t, '[');
    for (int i = 0; i < r->n_channels; i++)
        text_printf(t, "%s%s", i ? ", " : "", words[r->channels[i]]);
    text_char(t, ']');
}

static void print_number(Text *t, const char *before, double x)
{
    text_add(t, before);
    text_double(t, x);
}

/* The word of an argument. */
static const char *word_of(const char *setting, const char *arg, int at)
{
    for (int i = 0; recipe_field(i); i++) {
        const Field *f = recipe_field(i);
        if (!strcmp(f->setting, setting) && !strcmp(f->arg, arg))
            return f->words[at];
    }
    return "";
}

static void print_data(Text *t, const Recipe *r)
{
    print_number(t, "  rate = ", r->rate);
    text_add(t, " Hz\n  data = recordings(channels: ");
    print_channels(t, r);
    if (r->longest)
        text_printf(t, ", longest: %lld frames", (long long)r->longest);
    text_printf(t, ")\n      |> clip(%lld frames, every: %lld frames", (long long)r->clip_frames,
                (long long)r->clip_every);
    text_add(t, r->clip_start == RECIPE_START_ALL ? ")\n" : ", start: not_last)\n");
    if (r->inputs || r->responses || r->statistics)
        text_printf(t, "      |> standardise(inputs: %s, responses: %s, statistics: %s)\n",
                    word_of("data", "inputs", r->inputs),
                    word_of("data", "responses", r->responses),
                    word_of("data", "statistics", r->statistics));
    if (r->pad_h) {
        text_printf(t, "      |> pad([h: %lld, w: %lld]", (long long)r->pad_h, (long long)r->pad_w);
        print_number(t, ", value: ", r->pad_value);
        text_add(t, ")\n");
    }
    if (r->folds)
        text_printf(t, "  split = folds(%lld, validate: %lld)\n", (long long)r->folds,
                    (long long)r->validate);
    else
        text_add(t, r->train_tiers == RECIPE_TIERS_RELEASED ? "  split = tiers(train: released)\n"
                                                            : "  split = none\n");
    if (r->has_cutmix) {
        print_number(t, "  mix = cutmix(alpha: ", r->cutmix_alpha);
        print_number(t, ", chance: ", r->cutmix_chance);
        text_add(t, ")\n");
    } else {
        text_add(t, "  mix = none\n");
    }
}

static void print_loss(Text *t, const Recipe *r)
{
    print_number(t, "  loss = poisson(eps: ", r->loss_eps);
    text_printf(t, ", added: %s", word_of("loss", "added", r->loss_added));
    print_number(t, ", weight: ", r->loss_weight);
    text_add(t, ")\n");
    if (r->squares_weight > 0) {
        print_number(t, "      |> squares(weight: ", r->squares_weight);
        text_add(t, ")\n");
    }
    if (r->correlation_weight > 0) {
        print_number(t, "      |> correlation(weight: ", r->correlation_weight);
        print_number(t, ", eps: ", r->correlation_eps);
        text_add(t, ")\n");
    }
    text_printf(t, "      |> scale(%s)\n", word_of("loss", "by", r->loss_scale));
    for (int64_t i = 0; i < r->n_penalties; i++) {
        text_add(t, "      |> l1(");
        print_string(t, r->penalties[i].which.of);
        print_number(t, ", weight: ", r->penalties[i].weight);
        text_printf(t, ", counts: %s)\n", word_of("loss", "counts", r->penalties[i].counts));
    }
}

static void print_optimizer(Text *t, const Recipe *r)
{
    text_printf(t, "  optimizer = %s(", r->schedule_free ? "schedule_free" : "adamw");
    print_number(t, "weight_decay: ", r->weight_decay);
    print_number(t, ", beta1: ", r->beta1);
    print_number(t, ", beta2: ", r->beta2);
    print_number(t, ", eps: ", r->adam_eps);
    if (r->schedule_free)
        text_printf(t, ", warmup: %lld steps", (long long)r->warmup);
    text_printf(t, ", absent: %s)\n", word_of("optimizer", "absent", r->absent));
    if (r->clip_norm > 0) {
        print_number(t, "      |> clip(norm: ", r->clip_norm);
        text_add(t, ")\n");
    }
    if (r->clip_percentile > 0) {
        print_number(t, "      |> autoclip(percentile: ", r->clip_percentile);
        text_add(t, ")\n");
    }
    for (int64_t i = 0; i < r->n_groups; i++) {
        const RecipeGroup *g = &r->groups[i];
        text_add(t, "      |> group(");
        print_string(t, g->which.of);
        print_number(t, ", rate: ", g->rate);
        if (g->weight_decay >= 0)
            print_number(t, ", weight_decay: ", g->weight_decay);
        text_add(t, ")\n");
    }
}

static void print_training(Text *t, const Recipe *r)
{
    static const char *const precisions[] = {"f32", "mixed(f16)", "mixed(bf16)"};
    text_printf(t, "  batch = %lld clips\n  accumulate = %lld\n  epoch = %lld clips\n",
                (long long)r->batch, (long long)r->accumulate, (long long)r->epoch);
    if (r->pick >= RECIPE_PICK_ROUNDS)
        text_printf(t, "  pick = %s\n", r->pick == RECIPE_PICK_ROUNDS ? "rounds" : "turns");
    else
        text_printf(t, "  pick = uniform(%s)\n", word_of("pick", "over", r->pick));
    print_loss(t, r);
    print_optimizer(t, r);
    if (r->ema > 0)
        print_number(t, "  average = ema(", r->ema);
    text_add(t, r->ema > 0 ? ")\n" : "  average = none\n");
    text_printf(t, "  precision = %s\n  seed = %llu\n", precisions[r->precision],
                (unsigned long long)r->seed);
    if (r->teacher) {
        text_add(t, "  teacher = distill(");
        print_string(t, r->teacher);
        print_number(t, ", ratio: ", r->teacher_ratio);
        text_add(t, ")\n");
    } else {
        text_add(t, "  teacher = none\n");
    }
}

/* An argument of a stage's schedule. */
static void print_argument(Text *t, const Field *f, const RecipeStage *s)
{
    const char *at = (const char *)s + f->offset;
    int word;
    switch (f->type) {
    case FIELD_INT:
        text_printf(t, "%lld", (long long)*(const int64_t *)at);
        break;
    case FIELD_WORD:
        memcpy(&word, at, sizeof word);
        text_add(t, f->words[word]);
        break;
    default:
        text_double(t, *(const double *)at);
    }
}

static void print_stage(Text *t, const RecipeStage *s)
{
    static const char *const schedules[] = {"constant", "linear", "cosine", "plateau"};
    static const char *const keeps[] = {"none", "last", "best"};
    const char *before = "";
    text_printf(t, "  stage %s(", s->name);
    print_duration(t, s->epochs, s->steps);
    text_printf(t, ") {\n    lr = %s(", schedules[s->schedule]);
    for (int i = 0; recipe_stage_field(i); i++) {
        const Field *f = recipe_stage_field(i);
        if (strcmp(f->function, schedules[s->schedule]))
            continue;
        text_printf(t, "%s%s: ", before, f->arg);
        print_argument(t, f, s);
        before = ", ";
    }
    text_printf(t, ")\n    keep = %s\n  }\n", keeps[s->keep]);
}

static void print_use(Text *t, const Recipe *r)
{
    static const char *const blends[] = {[RECIPE_BLEND_UNIFORM] = "uniform",
                                         [RECIPE_BLEND_RAMP] = "ramp",
                                         [RECIPE_BLEND_STITCH] = "stitch"};
    if (!r->predict_frames)
        text_add(t, "  predict = whole\n");
    else
        text_printf(t,
                    "  predict = sliding(%lld frames, every: %lld frames, blend: %s, last: %lld "
                    "frames)\n",
                    (long long)r->predict_frames, (long long)r->predict_every,
                    blends[r->predict_blend], (long long)r->predict_last);
    text_printf(t, "  score = correlation(burn_in: %lld frames)\n  checkpoints = save(every: ",
                (long long)r->burn_in);
    print_duration(t, r->checkpoint_epochs, r->checkpoint_steps);
    text_printf(t, ", last: %lld)\n  validation = ", (long long)r->keep_last);
    print_duration(t, r->validate_epochs, r->validate_steps);
    text_char(t, '\n');
}

void recipe_print(Text *out, const Recipe *r)
{
    text_printf(out, "recipe %s for %s {\n", r->name ? r->name : "defaults", r->model);
    print_data(out, r);
    print_training(out, r);
    for (int i = 0; i < r->n_stages; i++)
        print_stage(out, &r->stages[i]);
    print_use(out, r);
    text_add(out, "}\n");
}

/* ---- the table ---- */

static void print_words(Text *out, const Field *f)
{
    for (int i = 0; i < FIELD_WORDS && f->words[i]; i++)
        text_printf(out, "%s%s", i ? ", " : "", f->words[i]);
}

static void print_type(Text *out, const Field *f)
{
    switch (f->type) {
    case FIELD_INT:
        text_printf(out, "int%s%s", f->unit ? " " : "", f->unit ? f->unit : "");
        break;
    case FIELD_REAL:
        text_printf(out, "real%s%s", f->unit ? " " : "", f->unit ? f->unit : "");
        break;
    case FIELD_SEED:
        text_add(out, "int");
        break;
    case FIELD_STRING:
        text_add(out, "string");
        break;
    case FIELD_WORD:
        print_words(out, f);
        break;
    case FIELD_CHANNELS:
        text_add(out, "list of words");
        break;
    case FIELD_EXTENT:
        text_add(out, "[h: int, w: int]");
        break;
    case FIELD_PERIOD:
        text_add(out, "int epochs or steps");
        break;
    }
}

/* `base`: what the field's offset is meant for. */
static void print_default(Text *out, const Field *f, const void *base, const Recipe *r)
{
    const char *at = (const char *)base + f->offset;
    int word;
    switch (f->type) {
    case FIELD_INT:
    case FIELD_SEED:
        text_printf(out, "%lld", (long long)*(const int64_t *)at);
        break;
    case FIELD_REAL:
        if (*(const double *)at < f->low)
            text_add(out, "as the others");
        else
            text_double(out, *(const double *)at);
        break;
    case FIELD_WORD:
        memcpy(&word, at, sizeof word);
        text_add(out, f->words[word]);
        break;
    case FIELD_CHANNELS:
        print_channels(out, r);
        break;
    case FIELD_PERIOD:
        print_duration(out, ((const int64_t *)at)[0], ((const int64_t *)at)[1]);
        break;
    default:
        text_add(out, "none");
    }
}

static void print_row(Text *out, const Field *f, const void *base, const Recipe *r)
{
    text_printf(out, "| `%s` | ", f->setting);
    if (f->function)
        text_printf(out, "`%s(%s:)`", f->function, f->arg);
    text_add(out, " | ");
    print_type(out, f);
    text_add(out, " | ");
    print_default(out, f, base, r);
    text_printf(out, " | %s |\n", f->doc);
}

void recipe_print_settings(Text *out)
{
    Recipe r;
    recipe_default(&r);
    text_add(out, "| setting | argument | type | default | meaning |\n|---|---|---|---|---|\n");
    for (int i = 0; recipe_field(i); i++) {
        const Field *f = recipe_field(i);
        const FieldList *list = f->function ? recipe_list(f->setting, f->function) : NULL;
        print_row(out, f, list ? list->blank : &r, &r);
        const Field *next = recipe_field(i + 1);
        const BareWord *word;
        bool is_last = !next || strcmp(next->setting, f->setting);
        for (int k = 0; is_last && (word = recipe_bare_word(f->setting, k)); k++)
            if (word->doc)
                text_printf(out, "| `%s` | `%s` | | | %s |\n", f->setting, word->word, word->doc);
    }
    for (int i = 0; recipe_stage_field(i); i++)
        print_row(out, recipe_stage_field(i), recipe_stage_blank(), &r);
}
