#include "ir/shape.h"

int shape_axis(const Shape *s, const char *name)
{
    for (int i = 0; i < s->rank; i++)
        if (s->name[i] == name || !strcmp(s->name[i], name))
            return i;
    return -1;
}

int64_t shape_elems(const Shape *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++)
        n *= s->size[i];
    return n;
}

bool shape_equal(const Shape *a, const Shape *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->size[i] != b->size[i] || strcmp(a->name[i], b->name[i]))
            return false;
    return true;
}

bool shape_within(const Shape *part, const Shape *whole)
{
    for (int i = 0; i < part->rank; i++) {
        int j = shape_axis(whole, part->name[i]);
        if (j < 0 || whole->size[j] != part->size[i])
            return false;
    }
    return true;
}

void shape_strides(const Shape *s, int64_t stride[MAX_RANK])
{
    int64_t n = 1;
    for (int i = s->rank - 1; i >= 0; i--) {
        stride[i] = n;
        n *= s->size[i];
    }
}

bool shape_add(Shape *s, const char *name, int64_t size)
{
    if (s->rank >= MAX_RANK || shape_axis(s, name) >= 0)
        return false;
    s->name[s->rank] = name;
    s->size[s->rank++] = size;
    return true;
}

void shape_text(Text *t, const Shape *s)
{
    text_char(t, '[');
    for (int i = 0; i < s->rank; i++)
        text_printf(t, "%s%s=%lld", i ? ", " : "", s->name[i], (long long)s->size[i]);
    text_char(t, ']');
}
