#include "input/augment.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static const char KNOWN_STEPS[] = "rrc(0.08,1) pad_crop(4) squash centre(0.875) flip(0.5) bicubic bilinear";

/* One step of the line: name(argument,argument). */
struct step {
    char name[16];
    char arguments[2][24];
    int count;
};

static const char *skip_spaces(const char *at)
{
    while (*at == ' ')
        at++;
    return at;
}

/* Copies up to a delimiter, without spaces around; NULL when it does not fit or is empty. */
static const char *take_word(const char *at, const char *delimiters, char *word, size_t bytes)
{
    at = skip_spaces(at);
    size_t length = strcspn(at, delimiters), used = length;
    while (used > 0 && at[used - 1] == ' ')
        used--;
    if (used == 0 || used >= bytes)
        return NULL;
    memcpy(word, at, used);
    word[used] = '\0';
    return at + length;
}

static const char *take_step(const char *at, struct step *step)
{
    *step = (struct step){.count = 0};
    at = take_word(at, "(|)", step->name, sizeof step->name);
    if (!at || *at != '(')
        return at && *at != ')' ? at : NULL;
    do {
        if (step->count == 2)
            return NULL;
        at = take_word(at + 1, ",|()", step->arguments[step->count], sizeof step->arguments[0]);
        step->count++;
    } while (at && *at == ',');
    if (!at || *at != ')')
        return NULL;
    at = skip_spaces(at + 1);
    return *at == '|' || *at == '\0' ? at : NULL;
}

static bool number(const struct step *step, int index, double low, double high, float *value)
{
    char *end;
    double parsed = strtod(step->arguments[index], &end);
    if (*end != '\0' || !(parsed >= low && parsed <= high))
        return false;
    *value = (float)parsed;
    return true;
}

static vt_status parse_rrc(const struct step *step, struct augment_desc *desc)
{
    desc->crop = CROP_RANDOM_RESIZED;
    desc->scale_min = 0.08f;
    desc->scale_max = 1.0f;
    bool good = (step->count < 1 || number(step, 0, 1e-6, 1, &desc->scale_min)) &&
                (step->count < 2 || number(step, 1, 1e-6, 1, &desc->scale_max));
    if (!good || desc->scale_min > desc->scale_max)
        return VT_FAIL(VT_E_USAGE, "rrc: expected rrc(MIN,MAX), areas as shares with 0 < MIN <= MAX <= 1");
    return VT_OK;
}

static vt_status parse_pad_crop(const struct step *step, struct augment_desc *desc)
{
    float pad = 4;
    desc->crop = CROP_PADDED;
    bool good = step->count < 1 || (number(step, 0, 0, 4096, &pad) && pad == floorf(pad));
    if (step->count == 2) {
        desc->pad_reflect = strcmp(step->arguments[1], "reflect") == 0;
        good = good && (desc->pad_reflect || strcmp(step->arguments[1], "zeros") == 0);
    }
    if (!good)
        return VT_FAIL(VT_E_USAGE, "pad_crop: expected pad_crop(PIXELS) or pad_crop(PIXELS,reflect), 0 to 4096 pixels");
    desc->pad = (int)pad;
    return VT_OK;
}

static vt_status parse_centre(const struct step *step, struct augment_desc *desc)
{
    desc->crop = CROP_CENTRE;
    desc->crop_fraction = 0.875f;
    if (step->count > 1 || (step->count == 1 && !number(step, 0, 0.01, 1, &desc->crop_fraction)))
        return VT_FAIL(VT_E_USAGE, "centre: expected centre(FRACTION), a share of the short side, 0.01 to 1");
    return VT_OK;
}

static vt_status parse_flip(const struct step *step, struct augment_desc *desc)
{
    desc->flip = 0.5f;
    if (step->count > 1 || (step->count == 1 && !number(step, 0, 0, 1, &desc->flip)))
        return VT_FAIL(VT_E_USAGE, "flip: expected flip(PROBABILITY), 0 to 1");
    return VT_OK;
}

static vt_status parse_plain(const struct step *step, struct augment_desc *desc)
{
    if (step->count > 0)
        return VT_FAIL(VT_E_USAGE, "%s takes no arguments", step->name);
    if (strcmp(step->name, "squash") == 0)
        desc->crop = CROP_NONE;
    else
        desc->filter = strcmp(step->name, "bilinear") == 0 ? FILTER_BILINEAR : FILTER_BICUBIC;
    return VT_OK;
}

enum step_group { GROUP_CROP = 1, GROUP_FLIP = 2, GROUP_FILTER = 4 };
static const struct step_rule {
    const char *name;
    enum step_group group; /* one step of each group at most */
    vt_status (*parse)(const struct step *step, struct augment_desc *desc);
} RULES[] = {
    {"rrc", GROUP_CROP, parse_rrc},         {"pad_crop", GROUP_CROP, parse_pad_crop},
    {"squash", GROUP_CROP, parse_plain},    {"centre", GROUP_CROP, parse_centre},
    {"center", GROUP_CROP, parse_centre},   {"flip", GROUP_FLIP, parse_flip},
    {"bicubic", GROUP_FILTER, parse_plain}, {"bilinear", GROUP_FILTER, parse_plain},
};

static vt_status parse_step(const struct step *step, struct augment_desc *desc, int *groups)
{
    for (size_t i = 0; i < sizeof RULES / sizeof *RULES; i++) {
        if (strcmp(RULES[i].name, step->name) != 0)
            continue;
        if (*groups & (int)RULES[i].group)
            return VT_FAIL(VT_E_USAGE, "a second %s step: \"%s\"",
                           RULES[i].group == GROUP_CROP   ? "crop"
                           : RULES[i].group == GROUP_FLIP ? "flip"
                                                          : "filter",
                           step->name);
        *groups |= (int)RULES[i].group;
        return RULES[i].parse(step, desc);
    }
    const char *names[sizeof RULES / sizeof *RULES];
    for (size_t i = 0; i < sizeof RULES / sizeof *RULES; i++)
        names[i] = RULES[i].name;
    const char *near = text_nearest(step->name, names, sizeof RULES / sizeof *RULES);
    if (near)
        return VT_FAIL(VT_E_USAGE, "unknown step \"%s\", did you mean \"%s\"?", step->name, near);
    return VT_FAIL(VT_E_USAGE, "unknown step \"%s\", expected one of %s", step->name, KNOWN_STEPS);
}

vt_status augment_parse(const char *text, struct augment_desc *desc)
{
    struct augment_desc parsed = {.crop = CROP_NONE, .filter = FILTER_BICUBIC};
    int groups = 0;
    for (const char *at = text;; at++) {
        struct step step;
        const char *end = take_step(at, &step);
        if (!end)
            return VT_FAIL(VT_E_USAGE,
                           "transform \"%s\": cannot read \"%s\", expected name(argument,...)|name... of %s", text, at,
                           KNOWN_STEPS);
        vt_status status = parse_step(&step, &parsed, &groups);
        if (status != VT_OK)
            return status_prefix(status, "transform \"%s\"", text);
        at = end;
        if (*at == '\0')
            break;
    }
    *desc = parsed;
    return VT_OK;
}

/* The shortest decimal that reads back as the same float. */
static const char *shortest(float value, char text[24])
{
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, 24, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return text;
}

void augment_format(const struct augment_desc *desc, char *text, size_t bytes)
{
    char number[24], second[24];
    if (bytes == 0)
        return;
    text[0] = '\0';
    switch (desc->crop) {
    case CROP_NONE:
        text_append(text, bytes, "squash");
        break;
    case CROP_RANDOM_RESIZED:
        text_append(text, bytes, "rrc(%s,%s)", shortest(desc->scale_min, number), shortest(desc->scale_max, second));
        break;
    case CROP_PADDED:
        text_append(text, bytes, "pad_crop(%d%s)", desc->pad, desc->pad_reflect ? ",reflect" : "");
        break;
    case CROP_CENTRE:
        text_append(text, bytes, "centre(%s)", shortest(desc->crop_fraction, number));
        break;
    }
    if (desc->flip > 0)
        text_append(text, bytes, "|flip(%s)", shortest(desc->flip, number));
    text_append(text, bytes, "|%s", desc->filter == FILTER_BILINEAR ? "bilinear" : "bicubic");
}

vt_status augment_check(const struct augment_desc *desc, int image_size)
{
    if (desc->crop == CROP_PADDED && desc->pad_reflect && desc->pad >= image_size)
        return VT_FAIL(VT_E_USAGE, "pad_crop(%d,reflect): expected fewer pixels than the picture's %d", desc->pad,
                       image_size);
    return VT_OK;
}
