/* pack -> open -> read, from IDX and from image folders; the same bytes twice; val draws; what goes wrong. */
#include "dataset_maker.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "dataset/verify.h"

static void pack(const struct pack_desc *desc, struct pack_report *report)
{
    ASSERT_OK(pack_run(desc, report));
}

static void idx_round_trip(void)
{
    make_root("pack");
    make_idx(below("idx"), "train", 230);
    make_idx(below("idx"), "t10k", 40);
    struct pack_report report;
    pack(&(struct pack_desc){.source = below("idx"), .dir = below("idx.ds"), .seed = 3, .shard_samples = 100}, &report);
    CU_ASSERT(report.splits == 2 && report.classes == 10);
    CU_ASSERT(report.split[0].samples == 230 && report.split[0].shards == 3 && report.split[1].samples == 40);

    struct dataset *dataset;
    struct dataset_split *split;
    struct dataset_split_info info;
    ASSERT_OK(dataset_open(below("idx.ds"), &dataset));
    CU_ASSERT_STRING_EQUAL(dataset_name(dataset), "idx.ds");
    CU_ASSERT_EQUAL(dataset_class_count(dataset), 10);
    CU_ASSERT_STRING_EQUAL(dataset_class_name(dataset, 4), "4");
    ASSERT_OK(dataset_split_open(dataset, "train", &split));
    dataset_split_describe(split, &info);
    CU_ASSERT(info.samples == 230 && info.channels == 1 && info.width == 6 && info.height == 5 && info.has_stats);
    uint8_t *buffer = NULL;
    size_t capacity = 0;
    struct image image = {0};
    char seen[230] = {0};
    int moved = 0;
    double sum = 0;
    for (int id = 0; id < 230; id++) {
        struct sample_record record;
        dataset_record(split, id, &record);
        CU_ASSERT(record.width == 6 && record.height == 5 && record.codec == CODEC_PNM && record.label_count == 1);
        CU_ASSERT_EQUAL(record.shard, id / 100);
        CU_ASSERT_EQUAL(record.flags, SAMPLE_GREY);
        ASSERT_OK(dataset_read(split, &record, &buffer, &capacity));
        ASSERT_OK(image_decode(buffer, (size_t)record.bytes, 1, &image));
        int item = -1;
        for (int n = record.labels[0]; n < 230 && item < 0; n += 10) {
            int same = !seen[n];
            for (int i = 0; i < 30 && same; i++)
                same = image.pixels[i] == idx_pixel(n, i);
            item = same ? n : -1;
        }
        CU_ASSERT_FATAL(item >= 0);
        seen[item] = 1;
        moved += item != id;
        for (int i = 0; i < 30; i++)
            sum += image.pixels[i] / 255.0;
    }
    CU_ASSERT(moved > 200); /* shuffled */
    CU_ASSERT_DOUBLE_EQUAL(info.mean[0], sum / (230 * 30), 1e-6);
    free(buffer);
    image_close(&image);
    dataset_close(&dataset);
    CU_ASSERT_PTR_NULL(dataset);
}

static void same_input_same_bytes(void)
{
    const struct pack_desc desc = {
        .source = below("idx"), .dir = below("idx.again"), .name = "idx.ds", .seed = 3, .shard_samples = 100};
    pack(&desc, NULL);
    CU_ASSERT(same_tree(below("idx.ds"), below("idx.again")));
    struct pack_desc other = desc;
    other.dir = below("idx.seed4");
    other.seed = 4;
    pack(&other, NULL);
    CU_ASSERT(!same_tree(below("idx.ds"), below("idx.seed4")));
}

static void shards_are_webdataset_tars(void)
{
    char command[900];
    snprintf(command, sizeof command,
             "cd %s/idx.ds/shards && test $(tar tf train-000002.tar | wc -l) = 60 && "
             "test \"$(tar tf train-000002.tar | head -2 | tr '\\n' ' ')\" = '00000200.pgm 00000200.cls ' && "
             "tar xOf train-000002.tar 00000200.cls | grep -qx '[0-9]'",
             test_root);
    CU_ASSERT_EQUAL(system(command), 0);
}

static void fashion_mnist(void)
{
    const char *source = "/usr/share/datasets/fashion-mnist";
    if (!file_is_dir(source)) {
        printf("SKIPPED (no %s) ", source);
        return;
    }
    struct pack_report report;
    struct dataset *dataset;
    struct dataset_split_info info;
    pack(&(struct pack_desc){.source = source, .dir = below("fashion")}, &report);
    ASSERT_OK(dataset_open(below("fashion"), &dataset));
    dataset_split_at(dataset, 0, &info);
    CU_ASSERT(info.samples == 60000 && info.width == 28 && info.height == 28 && info.channels == 1);
    CU_ASSERT_DOUBLE_EQUAL(info.mean[0], 0.2860, 0.0001); /* the published statistics */
    CU_ASSERT_DOUBLE_EQUAL(info.std[0], 0.3530, 0.0001);
    dataset_split_at(dataset, 1, &info);
    CU_ASSERT(info.samples == 10000 && strcmp(info.name, "val") == 0);
    CU_ASSERT_STRING_EQUAL(dataset_class_name(dataset, 9), "Ankle boot");
    printf("(%.2f s) ", report.seconds);
    CU_ASSERT(report.seconds < 60);
    dataset_close(&dataset);
}

static void image_folder_with_splits(void)
{
    static const char *const classes[] = {"ant", "bee", "n01440764"};
    for (int c = 0; c < 3; c++) {
        char name[64];
        snprintf(name, sizeof name, "tree/train/%s", classes[c]);
        make_class(below("tree/train"), classes[c], c, 10 + c);
        make_class(below("tree/val"), classes[c], c, 3);
    }
    write_file(below("tree/train/ant/notes.txt"), "x", 1);
    write_file(below("tree/train/bee/broken.jpg"), "not a jpeg", 10);
    write_file(below("tree/train/bee/deep/er/x.ppm"), "P6\n1 1\n255\nabc", 14);
    struct pack_report report;
    pack(&(struct pack_desc){.source = below("tree"), .dir = below("tree.ds"), .command = "pack tree"}, &report);
    CU_ASSERT(report.splits == 2 && report.classes == 3);
    CU_ASSERT(report.split[0].samples == 34 && report.split[0].dropped == 1 && report.split[1].samples == 9);

    struct dataset *dataset;
    struct dataset_split *split;
    struct dataset_split_info info;
    int per_class[3] = {0}, codecs[4] = {0};
    uint8_t *buffer = NULL;
    size_t capacity = 0;
    struct image image = {0};
    ASSERT_OK(dataset_open(below("tree.ds/manifest.pb"), &dataset));
    CU_ASSERT_STRING_EQUAL(dataset_class_name(dataset, 1), "bee");
    CU_ASSERT_STRING_EQUAL(dataset_class_wnid(dataset, 1), "");
    CU_ASSERT_STRING_EQUAL(dataset_class_wnid(dataset, 2), "n01440764");
    ASSERT_OK(dataset_split_open(dataset, "train", &split));
    dataset_split_describe(split, &info);
    CU_ASSERT(info.channels == 3 && info.width == 0 && info.samples == 34);
    for (int id = 0; id < 34; id++) {
        struct sample_record record;
        dataset_record(split, id, &record);
        ASSERT_OK(dataset_read(split, &record, &buffer, &capacity));
        ASSERT_OK(image_decode(buffer, (size_t)record.bytes, 3, &image));
        CU_ASSERT(image.width == record.width && image.height == record.height);
        CU_ASSERT(image.height == 16 + record.labels[0] || image.height == 1);
        per_class[record.labels[0]]++;
        codecs[record.codec]++;
    }
    CU_ASSERT(per_class[0] == 10 && per_class[1] == 12 && per_class[2] == 12);
    CU_ASSERT(codecs[CODEC_JPEG] == 12 && codecs[CODEC_PNG] == 11 && codecs[CODEC_PNM] == 11);
    free(buffer);
    image_close(&image);
    dataset_close(&dataset);
}

static void count_classes(const char *dir, const char *spec, int *per_class)
{
    struct dataset *dataset;
    struct dataset_split *split;
    struct dataset_split_info info;
    ASSERT_OK(dataset_open(dir, &dataset));
    ASSERT_OK(dataset_split_open(dataset, spec, &split));
    dataset_split_describe(split, &info);
    memset(per_class, 0, 10 * sizeof *per_class);
    for (int64_t id = 0; id < info.samples; id++) {
        struct sample_record record;
        dataset_record(split, id, &record);
        per_class[record.labels[0]]++;
    }
    dataset_close(&dataset);
}

static void val_draws(void)
{
    int train[10], val[10];
    make_class(below("flat"), "a", 0, 20);
    make_class(below("flat"), "b", 1, 10);
    struct pack_report report;
    pack(&(struct pack_desc){.source = below("flat"), .dir = below("flat.strat"), .val = "20%:stratified"}, &report);
    count_classes(below("flat.strat"), "val", val);
    count_classes(below("flat.strat"), "train", train);
    CU_ASSERT(val[0] == 4 && val[1] == 2 && train[0] == 16 && train[1] == 8);
    pack(&(struct pack_desc){.source = below("flat"), .dir = below("flat.class"), .val = "3/class"}, &report);
    count_classes(below("flat.class"), "val", val);
    CU_ASSERT(val[0] == 3 && val[1] == 3);
    pack(&(struct pack_desc){.source = below("flat"), .dir = below("flat.n"), .val = "7"}, &report);
    CU_ASSERT(report.split[0].samples == 23 && report.split[1].samples == 7);
    pack(&(struct pack_desc){.source = below("flat"), .dir = below("flat.again"), .name = "flat.n", .val = "7"},
         &report);
    CU_ASSERT(same_tree(below("flat.n"), below("flat.again")));
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("flat"), .dir = below("x"), .val = "10/class"}, NULL),
                 VT_E_USAGE, "10 samples wanted of b, which has 10");
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("flat"), .dir = below("x"), .val = "7/clas"}, NULL),
                 VT_E_USAGE, "val \"7/clas\": expected 10%");
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("tree"), .dir = below("x"), .val = "10%"}, NULL),
                 VT_E_USAGE, "has a val split of its own (9 samples)");
    CU_ASSERT(!file_exists(below("x")));
}

static void options(void)
{
    struct dataset *dataset;
    struct pack_report report;
    pack(&(struct pack_desc){.source = below("idx"), .dir = below("dry"), .dry_run = true}, &report);
    CU_ASSERT(!file_exists(below("dry")) && report.split[0].samples == 230);
    pack(
        &(struct pack_desc){
            .source = below("idx"), .dir = below("named/"), .classes = "a,b,c,d,e,f,g,h,i,j", .no_shuffle = true},
        &report);
    ASSERT_OK(dataset_open(below("named"), &dataset));
    CU_ASSERT_STRING_EQUAL(dataset_class_name(dataset, 2), "c");
    struct dataset_split *split;
    struct sample_record record;
    ASSERT_OK(dataset_split_open(dataset, "train", &split));
    for (int id = 0; id < 230; id++) {
        dataset_record(split, id, &record);
        CU_ASSERT_EQUAL(record.labels[0], id % 10);
    }
    dataset_close(&dataset);
}

static int entries(const char *path)
{
    int count = 0;
    DIR *dir = opendir(path);
    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

static void cifar_binary(void)
{
    enum { RECORD = 3073, COUNT = 30 };
    struct pack_report report;
    struct dataset *dataset;
    struct dataset_split *split;
    struct image image = {0};
    uint8_t *bytes = malloc(RECORD * COUNT), *buffer = NULL;
    size_t capacity = 0;
    for (int n = 0; n < COUNT; n++) {
        bytes[n * RECORD] = (uint8_t)(n % 10);
        for (int i = 0; i < 3072; i++)
            bytes[n * RECORD + 1 + i] = (uint8_t)(n + i / 1024 * 50 + i % 7);
    }
    write_file(below("c10/data_batch_1.bin"), bytes, RECORD * 20);
    write_file(below("c10/data_batch_2.bin"), bytes + RECORD * 20, RECORD * 10);
    write_file(below("c10/test_batch.bin"), bytes, RECORD * 10);
    write_file(below("c10/batches.meta.txt"), "airplane\nautomobile\n", 20);
    pack(&(struct pack_desc){.source = below("c10"), .dir = below("c10.ds"), .no_shuffle = true}, &report);
    CU_ASSERT(report.split[0].samples == 30 && report.split[1].samples == 10 && report.classes == 10);
    ASSERT_OK(dataset_open(below("c10.ds"), &dataset));
    CU_ASSERT_STRING_EQUAL(dataset_class_name(dataset, 1), "automobile");
    ASSERT_OK(dataset_split_open(dataset, "train", &split));
    for (int id = 0; id < 30; id++) {
        struct sample_record record;
        dataset_record(split, id, &record);
        CU_ASSERT_EQUAL(record.labels[0], id % 10);
        ASSERT_OK(dataset_read(split, &record, &buffer, &capacity));
        ASSERT_OK(image_decode(buffer, (size_t)record.bytes, 3, &image));
        int same = image.width == 32 && image.height == 32;
        for (int i = 0; i < 1024 && same; i++)
            for (int c = 0; c < 3; c++)
                same = same && image.pixels[3 * i + c] == bytes[id * RECORD + 1 + c * 1024 + i];
        CU_ASSERT(same);
    }
    dataset_close(&dataset);
    CU_ASSERT_EQUAL(truncate(below("c10/test_batch.bin"), 5000), 0);
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("c10"), .dir = below("y")}, NULL), VT_E_FORMAT,
                 "test_batch.bin: 5000 bytes, expected a multiple of 3073");
    image_close(&image);
    free(buffer);
    free(bytes);
}

/* Tars of others, indexed in place: ours taken as foreign, and one in another order with members nobody knows. */
static void webdataset_in_place(void)
{
    struct pack_report report;
    struct dataset *ours, *theirs;
    struct dataset_split *a, *b;
    struct sample_record x, y;
    uint8_t *buffer = NULL;
    size_t capacity = 0;
    pack(
        &(struct pack_desc){
            .source = below("tree.ds/shards"), .dir = below("wds"), .from = "webdataset", .classes = "ant,bee,crab"},
        &report);
    CU_ASSERT(report.splits == 2 && report.classes == 3 && report.split[0].samples == 34 &&
              report.split[1].samples == 9);
    ASSERT_OK(dataset_open(below("tree.ds"), &ours));
    ASSERT_OK(dataset_open(below("wds"), &theirs));
    ASSERT_OK(dataset_split_open(ours, "train", &a));
    ASSERT_OK(dataset_split_open(theirs, "train", &b));
    for (int id = 0; id < 34; id++) {
        dataset_record(a, id, &x);
        dataset_record(b, id, &y);
        CU_ASSERT(x.offset == y.offset && x.bytes == y.bytes && x.crc32c == y.crc32c && x.labels[0] == y.labels[0]);
        CU_ASSERT(x.width == y.width && x.height == y.height && x.codec == y.codec && x.flags == y.flags);
        ASSERT_OK(dataset_read(b, &y, &buffer, &capacity));
    }
    free(buffer);
    CU_ASSERT_STRING_EQUAL(dataset_class_name(theirs, 2), "crab");
    dataset_close(&ours);
    dataset_close(&theirs);
    struct verify_report verified;
    ASSERT_OK(verify_run(&(struct verify_desc){.dir = below("wds")}, &verified));
    CU_ASSERT(verified.samples == 43 && verified.bad == 0 && verified.bad_shards == 0);

    char command[1500];
    snprintf(command, sizeof command,
             "cd %s && mkdir -p f/a f2 && cp tree/val/ant/000.jpg f/a/x.jpg && cp tree/val/bee/001.png f/a/y.PNG && "
             "printf '1\n' > f/a/x.cls && "
             "printf 0 > f/a/y.cls && echo {} > f/a/x.json && tar cf f2/train.tar -C f a/x.cls a/x.json a/x.jpg "
             "a/y.PNG a/y.cls && "
             "mkdir f3 && tar cf f3/train.tar -C f a/x.jpg",
             test_root);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
    pack(&(struct pack_desc){.source = below("f2"), .dir = below("f2.ds")}, &report);
    CU_ASSERT(report.split[0].samples == 2 && report.classes == 2);
    ASSERT_OK(verify_run(&(struct verify_desc){.dir = below("f2.ds")}, &verified));
    CU_ASSERT(verified.samples == 2 && verified.bad == 0 && verified.bad_shards == 0);
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("f3"), .dir = below("y")}, NULL), VT_E_FORMAT,
                 "a/x has an image but no .cls");
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("f2"), .dir = below("y"), .val = "10%"}, NULL),
                 VT_E_USAGE, "stay as they are");
    CU_ASSERT_EQUAL(truncate(below("f2/train.tar"), 3000), 0);
    ASSERT_FAILS(dataset_open(below("f2.ds"), &theirs), VT_E_FORMAT,
                 "f2/train.tar: the shard has 3000 bytes, expected");
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("f2"), .dir = below("y")}, NULL), VT_E_FORMAT,
                 "train.tar: offset ");
}

/* A header of a regular file whose size field is base-256. */
static void put_tar_header(FILE *tar, const char *name, uint64_t size)
{
    uint8_t header[512] = {0};
    unsigned sum = 0;
    snprintf((char *)header, 100, "%s", name);
    header[124] = 0x80;
    for (int i = 0; i < 8; i++)
        header[135 - i] = (uint8_t)(size >> (8 * i));
    header[156] = '0';
    memset(header + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum);
    CU_ASSERT_EQUAL(fwrite(header, 1, sizeof header, tar), sizeof header);
}

/* big.jpg, which claims `claimed` bytes and holds `held` (a hole), and its label, behind two samples that are good. */
static void make_huge_member(const char *folder, uint64_t claimed, int64_t held)
{
    char command[600], path[300];
    snprintf(command, sizeof command, "mkdir %s && head -c -1024 %s > %s/train.tar", below(folder),
             below("two.tar"), below(folder));
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
    snprintf(path, sizeof path, "%s/train.tar", below(folder));
    FILE *tar = fopen(path, "ab");
    CU_ASSERT_PTR_NOT_NULL_FATAL(tar);
    put_tar_header(tar, "big.jpg", claimed);
    fflush(tar);
    CU_ASSERT_EQUAL_FATAL(ftruncate(fileno(tar), ftell(tar) + (held + 511) / 512 * 512), 0);
    fseek(tar, 0, SEEK_END);
    put_tar_header(tar, "big.cls", 1);
    const char label[512] = "1";
    CU_ASSERT_EQUAL(fwrite(label, 1, sizeof label, tar), sizeof label);
    fclose(tar);
}

static long peak_kib(void)
{
    struct rusage usage;
    CU_ASSERT_EQUAL(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

/* What a header claims is checked before anything of that size is allocated or read. */
static void webdataset_huge_member(void)
{
    enum { GIB = 1 << 30 };
    struct pack_report report;
    char command[800];
    snprintf(command, sizeof command,
             "cd %s && mkdir h && cp tree/val/ant/000.jpg h/x.jpg && cp tree/val/bee/001.png h/y.png && "
             "echo 0 > h/x.cls && echo 1 > h/y.cls && tar c -b 1 -C h x.cls x.jpg y.cls y.png > two.tar",
             test_root);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
    make_huge_member("h1", (uint64_t)60 * GIB, 4096);
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("h1"), .dir = below("y")}, NULL), VT_E_FORMAT,
                 "member of 64424509440 bytes, only ");
    make_huge_member("h2", (uint64_t)GIB + 1, (int64_t)GIB + 1);
    long before = peak_kib();
    pack(&(struct pack_desc){.source = below("h2"), .dir = below("h2.ds")}, &report);
    CU_ASSERT(report.split[0].samples == 2 && report.split[0].dropped == 1);
    CU_ASSERT(peak_kib() - before < GIB / 1024 / 4);
    struct verify_report verified;
    ASSERT_OK(verify_run(&(struct verify_desc){.dir = below("h2.ds")}, &verified));
    CU_ASSERT(verified.samples == 2 && verified.bad == 0 && verified.bad_shards == 0);
}

/* The disk fills up in the middle of a shard (a file size limit stands for it). */
static void full_disk(void)
{
    struct rlimit old, low;
    int before = entries(test_root);
    signal(SIGXFSZ, SIG_IGN);
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = (struct rlimit){100000, old.rlim_max};
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &low), 0);
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("idx"), .dir = below("full")}, NULL), VT_E_IO,
                 "train-000000.tar");
    setrlimit(RLIMIT_FSIZE, &old);
    CU_ASSERT_EQUAL(entries(test_root), before);
}

/* kill -9 at any moment: DIR is absent or whole. */
static void killed_at_any_moment(void)
{
    int whole = 0, absent = 0;
    make_idx(below("large"), "train", 5000);
    for (int n = 0; n < 16; n++) {
        pid_t child = fork();
        if (child == 0) {
            if (!freopen("/dev/null", "w", stderr))
                _exit(9);
            _exit(pack_run(
                &(struct pack_desc){.source = below("large"), .dir = below("large.ds"), .shard_samples = 500}, NULL));
        }
        usleep((useconds_t)(n * n * 1500));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        if (file_exists(below("large.ds"))) {
            struct dataset *dataset;
            ASSERT_OK(dataset_open(below("large.ds"), &dataset));
            dataset_close(&dataset);
            whole++;
            CU_ASSERT_EQUAL(rename(below("large.ds"), below("large.done")), 0);
            char command[400];
            snprintf(command, sizeof command, "rm -rf %s/large.done", test_root);
            CU_ASSERT_EQUAL(system(command), 0);
        } else {
            absent++;
        }
    }
    printf("(%d absent, %d whole) ", absent, whole);
    CU_ASSERT(absent > 0);
}

/* What a killed pack left is removed by the next one; that of a living process is not. */
static void leftovers_of_the_dead(void)
{
    char host[256] = "", dead[400], alive[400];
    gethostname(host, sizeof host - 1);
    snprintf(dead, sizeof dead, "idx2.packing.%s.999999999/shards/train-000000.tar", host);
    write_file(below(dead), "x", 1);
    snprintf(alive, sizeof alive, "idx2.packing.%s.%ld", host, (long)getppid());
    write_file(below(alive), "x", 1);
    pack(&(struct pack_desc){.source = below("idx"), .dir = below("idx2")}, NULL);
    CU_ASSERT(!file_exists(below(dead)));
    CU_ASSERT(file_exists(below(alive)));
}

static void bad_sources(void)
{
    int before = entries(test_root);
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("nowhere"), .dir = below("y")}, NULL), VT_E_IO,
                 "nowhere: no such source");
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("idx"), .dir = below("idx.ds")}, NULL), VT_E_USAGE,
                 "exists already");
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("idx"), .dir = below("y"), .from = "zip"}, NULL),
                 VT_E_USAGE, "from \"zip\": expected");
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("idx"), .dir = below("y"), .classes = "a,b"}, NULL),
                 VT_E_USAGE, "2 names, the source has 10");
    make_idx(below("short"), "train", 50);
    CU_ASSERT_EQUAL(truncate(below("short/train-images-idx3-ubyte"), 500), 0);
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("short"), .dir = below("y")}, NULL), VT_E_FORMAT,
                 "ends after 484 bytes, expected 1500");
    make_idx(below("short"), "train", 50);
    make_idx(below("other"), "train", 40);
    CU_ASSERT_EQUAL(rename(below("other/train-labels-idx1-ubyte"), below("short/train-labels-idx1-ubyte")), 0);
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("short"), .dir = below("y")}, NULL), VT_E_FORMAT,
                 "40 labels");
    write_file(below("junk/c/a.jpg"), "junk", 4);
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("junk"), .dir = below("y")}, NULL), VT_E_FORMAT,
                 "none of its 1 images can be read; the first: c/a.jpg: not an image");
    write_file(below("nothing/c/a.txt"), "junk", 4);
    ASSERT_FAILS(pack_run(&(struct pack_desc){.source = below("nothing"), .dir = below("y")}, NULL), VT_E_USAGE,
                 "no images");
    CU_ASSERT_EQUAL(entries(test_root), before + 4); /* the four sources made here: no y, no leftovers */
    remove_root();
}

static const struct test_case cases[] = {
    {"IDX round trip", idx_round_trip},
    {"the same input gives the same bytes", same_input_same_bytes},
    {"shards are WebDataset tars", shards_are_webdataset_tars},
    {"Fashion-MNIST", fashion_mnist},
    {"image folders with splits", image_folder_with_splits},
    {"val draws", val_draws},
    {"options", options},
    {"CIFAR binary files", cifar_binary},
    {"WebDataset tars in place", webdataset_in_place},
    {"a WebDataset member of any claimed size", webdataset_huge_member},
    {"a full disk", full_disk},
    {"killed at any moment", killed_at_any_moment},
    {"leftovers of a killed pack", leftovers_of_the_dead},
    {"bad sources leave nothing behind", bad_sources},
};
TEST_MAIN("pack", cases)
