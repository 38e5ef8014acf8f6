#include "input/augment.h"

#include "base/philox.h"
#include "test.h"

static struct augment_desc parse(const char *text)
{
    struct augment_desc desc;
    ASSERT_OK(augment_parse(text, &desc));
    return desc;
}

static void steps_are_read(void)
{
    struct augment_desc desc = parse("rrc(0.08,1)|flip(0.5)");
    CU_ASSERT_EQUAL(desc.crop, CROP_RANDOM_RESIZED);
    CU_ASSERT_EQUAL(desc.scale_min, 0.08f);
    CU_ASSERT_EQUAL(desc.scale_max, 1.0f);
    CU_ASSERT_EQUAL(desc.flip, 0.5f);
    CU_ASSERT_EQUAL(desc.filter, FILTER_BICUBIC);
    desc = parse("pad_crop(4)|flip");
    CU_ASSERT_EQUAL(desc.crop, CROP_PADDED);
    CU_ASSERT_EQUAL(desc.pad, 4);
    CU_ASSERT_EQUAL(desc.pad_reflect, 0);
    CU_ASSERT_EQUAL(desc.flip, 0.5f);
    desc = parse(" pad_crop( 2 , reflect ) | bilinear ");
    CU_ASSERT_EQUAL(desc.pad, 2);
    CU_ASSERT_EQUAL(desc.pad_reflect, 1);
    CU_ASSERT_EQUAL(desc.filter, FILTER_BILINEAR);
    CU_ASSERT_EQUAL(desc.flip, 0.0f);
    desc = parse("centre(0.95)");
    CU_ASSERT_EQUAL(desc.crop, CROP_CENTRE);
    CU_ASSERT_EQUAL(desc.crop_fraction, 0.95f);
    CU_ASSERT_EQUAL(parse("center").crop_fraction, 0.875f);
    CU_ASSERT_EQUAL(parse("squash").crop, CROP_NONE);
    CU_ASSERT_EQUAL(parse("rrc").scale_min, 0.08f);
    CU_ASSERT_EQUAL(parse("flip(1)|rrc(0.3)").scale_max, 1.0f);
}

static void what_is_printed_parses_to_the_same(void)
{
    const char *lines[] = {
        "rrc(0.08,1)|flip(0.5)|bicubic", "pad_crop(4)|flip(0.25)|bicubic", "squash|bilinear",
        "pad_crop(2,reflect)|bicubic",   "centre(0.875)|bicubic",          "rrc(0.123456,0.9)|bilinear"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct augment_desc desc = parse(lines[i]);
        char text[AUGMENT_TEXT_BYTES];
        augment_format(&desc, text, sizeof text);
        CU_ASSERT_STRING_EQUAL(text, lines[i]);
        augment_format(&desc, text, 4); /* cut, not overrun */
        CU_ASSERT_EQUAL(strlen(text), 3);
    }
}

/* Random lines, mostly nonsense: never a crash, and what parses survives being printed. */
static void any_line_is_refused_or_understood(void)
{
    const char *pieces[] = {"rrc", "flip", "pad_crop",  "squash", "centre",  "bilinear", "(", ")",       "|",   ",",
                            "0.5", "1",    "0.1234567", "4",      "reflect", " ",        "-", "(0.3,1)", "(4)", "1e-3"};
    int good = 0;
    for (uint64_t round = 0; round < 50000; round++) {
        char line[256] = "", text[AUGMENT_TEXT_BYTES];
        struct augment_desc desc, again;
        for (uint64_t i = 0, count = 1 + draw_below(1, 1, round, 0, 6); i < count; i++)
            strcat(line, pieces[draw_below(1, 1, round, 1 + (uint32_t)i, sizeof pieces / sizeof *pieces)]);
        if (augment_parse(line, &desc) != VT_OK)
            continue;
        good++;
        augment_format(&desc, text, sizeof text);
        ASSERT_OK(augment_parse(text, &again));
        CU_ASSERT(desc.crop == again.crop && desc.scale_min == again.scale_min && desc.scale_max == again.scale_max &&
                  desc.pad == again.pad && desc.pad_reflect == again.pad_reflect && desc.flip == again.flip &&
                  desc.crop_fraction == again.crop_fraction && desc.filter == again.filter);
    }
    CU_ASSERT(good > 100);
}

static void mistakes_are_named(void)
{
    struct augment_desc desc;
    ASSERT_FAILS(augment_parse("rcc(0.08,1)", &desc), VT_E_USAGE, "unknown step \"rcc\", did you mean \"rrc\"?");
    ASSERT_FAILS(augment_parse("auto", &desc), VT_E_USAGE, "unknown step \"auto\"");
    ASSERT_FAILS(augment_parse("", &desc), VT_E_USAGE, "cannot read");
    ASSERT_FAILS(augment_parse("rrc(0.08,1", &desc), VT_E_USAGE, "cannot read");
    ASSERT_FAILS(augment_parse("rrc|", &desc), VT_E_USAGE, "cannot read");
    ASSERT_FAILS(augment_parse("rrc)", &desc), VT_E_USAGE, "cannot read");
    ASSERT_FAILS(augment_parse("rrc()", &desc), VT_E_USAGE, "cannot read");
    ASSERT_FAILS(augment_parse("rrc(0.1,1,2)", &desc), VT_E_USAGE, "cannot read");
    ASSERT_FAILS(augment_parse("rrc(0.1)x", &desc), VT_E_USAGE, "cannot read");
    ASSERT_FAILS(augment_parse("averylongnameofastep(1)", &desc), VT_E_USAGE, "cannot read");
    ASSERT_FAILS(augment_parse("rrc(0.9,0.1)", &desc), VT_E_USAGE, "0 < MIN <= MAX <= 1");
    ASSERT_FAILS(augment_parse("rrc(nan,1)", &desc), VT_E_USAGE, "0 < MIN <= MAX <= 1");
    ASSERT_FAILS(augment_parse("rrc(0,1)", &desc), VT_E_USAGE, "0 < MIN");
    ASSERT_FAILS(augment_parse("pad_crop(1.5)", &desc), VT_E_USAGE, "pad_crop(PIXELS)");
    ASSERT_FAILS(augment_parse("pad_crop(4,mirror)", &desc), VT_E_USAGE, "pad_crop(PIXELS,reflect)");
    ASSERT_FAILS(augment_parse("flip(1.5)", &desc), VT_E_USAGE, "flip(PROBABILITY)");
    ASSERT_FAILS(augment_parse("flip(x)", &desc), VT_E_USAGE, "flip(PROBABILITY)");
    ASSERT_FAILS(augment_parse("centre(2)", &desc), VT_E_USAGE, "centre(FRACTION)");
    ASSERT_FAILS(augment_parse("squash(1)", &desc), VT_E_USAGE, "takes no arguments");
    ASSERT_FAILS(augment_parse("rrc|squash", &desc), VT_E_USAGE, "a second crop step: \"squash\"");
    ASSERT_FAILS(augment_parse("flip|flip", &desc), VT_E_USAGE, "a second flip step");
    ASSERT_FAILS(augment_parse("bilinear|bicubic", &desc), VT_E_USAGE, "a second filter step");
    ASSERT_FAILS(augment_parse("rrc|bogus", &desc), VT_E_USAGE, "transform \"rrc|bogus\"");
    desc = parse("pad_crop(28,reflect)");
    ASSERT_FAILS(augment_check(&desc, 28), VT_E_USAGE, "fewer pixels than the picture's 28");
    ASSERT_OK(augment_check(&desc, 29));
}

static const struct test_case CASES[] = {
    {"steps are read", steps_are_read},
    {"format and parse agree", what_is_printed_parses_to_the_same},
    {"random lines", any_line_is_refused_or_understood},
    {"mistakes are named", mistakes_are_named},
};
TEST_MAIN("input/augment_text", CASES)
