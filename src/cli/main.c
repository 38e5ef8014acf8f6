#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/stage.h"
#include "base/text.h"
#include "cli/cli.h"
#include "train/version.h"

const struct verb verbs[] = {
    {"pack", "SRC DIR [--from idx|cifar|imagefolder|webdataset] [--val 10%:stratified|N|N/class] [--dry-run]", "make a dataset from images",
     "  --from KIND      idx (MNIST-style files), cifar (its binary files), imagefolder (class folders of JPEG, PNG, PNM)\n"
     "                   or webdataset (tars, indexed where they are); default: by what SRC holds\n"
     "  --val SPEC       draw a val split: 10%, 10%:stratified, N images, or N/class (imagefolder without its own val/)\n"
     "  --name NAME      name of the dataset (default: the last part of DIR)\n"
     "  --seed N         seed of the shuffle and of --val (default 0)\n"
     "  --shard-samples N  images per shard (default 2048)\n"
     "  --classes LIST   class names: a file with one a line, or a,b,c (default: the source's own)\n"
     "  --no-shuffle     keep the source's order: only for data that are mixed already\n"
     "  --dry-run        say what would be packed, write nothing\n",
     verb_pack},
    {"inspect", "PATH [--json]", "any manifest, index, shard, checkpoint, run or tuning table as text", "", verb_inspect},
    {"verify", "DIR [--threads N]", "decode everything once; report and record bad samples", "", verb_verify},
    {"preview", "CONFIG|RUN [key.path=value ...] -o sheet.png [--step N] [--raw DIR]", "what the model sees: a contact sheet",
     "  -o FILE          contact sheet (PNG)\n"
     "  --step N         the N-th step of the run, from 1 (default 1)\n"
     "  --raw DIR        also write the exact pixels, one PNM per image\n",
     verb_preview},
    {"train", "[-n RANKS] CONFIG|RUN [key.path=value ...]", "train; goes on where the run folder's newest checkpoint left off",
     "  -n RANKS         start mpirun with this many ranks on this machine\n"
     "  key.path=value   overrides; `vitrail help config` lists every key\n",
     verb_train},
    {"eval", "CKPT|RUN DIR[#split] [--json] [--predictions out.csv]", "exact accuracy of a checkpoint on a dataset",
     "  --json           result as one JSON object on stdout\n"
     "  --predictions F  one line per image: sample, label, prediction, probability (one process)\n"
     "  --raw-weights    the weights themselves, also where the run keeps an EMA\n"
     "  --best           of a run folder: the best checkpoint, not the latest\n",
     verb_eval},
    {"predict", "CKPT|RUN IMAGE ... [--json] [--top N]", "classify image files",
     "  --json           every logit, one JSON object a line\n"
     "  --top N          classes shown (default 5)\n",
     verb_predict},
    {"import", "FILE.safetensors CKPT [--heads N] [--config FILE]", "make a checkpoint from weights with timm names",
     "  Sizes come from the tensors; heads, pooling, mean, std, the evaluation transform and class names from the first of\n"
     "  these that says them: the options, the config.json beside FILE, the metadata in FILE (vitrail writes it), timm's defaults.\n"
     "  --heads N        attention heads; needed when nothing says them and timm has no model of these sizes\n"
     "  --config FILE    a timm-style config.json that lies elsewhere\n",
     verb_import},
    {"export", "CKPT|RUN FILE.safetensors [--ema]", "weights as one safetensors file with timm names",
     "  The text of the checkpoint's config.json goes into the file's metadata: `import` needs nothing else.\n"
     "  --ema            the moving average of the weights\n",
     verb_export},
    {"report", "RUN ... -o report.html [--svg FILE --metrics a,b]", "curves and time split of runs as one HTML page",
     "  -o FILE          the page (self-contained)\n"
     "  --svg FILE       only a picture of --metrics (default train/loss,val/top1)\n",
     verb_report},
    {"bench", "step|ops|data|comm [CONFIG] [key.path=value ...] [--json]", "speed of a step, of its ops, of the input, of all-reduce",
     "  --steps N        measured steps (default 20)\n"
     "  --json           one JSON object on stdout\n",
     verb_bench},
    {"check", "[CONFIG] [key.path=value ...]", "preflight: devices, libraries, data, folders, memory, network; on every rank", "",
     verb_check},
    {"help", "[verb | config | config.key | recipe]", "this list, a verb, the config keys, or a config to start from",
     "  help config      every key: default, range, meaning; help config.optim or help optim.lr for less\n"
     "  help recipe      a commented config with every key, to start one's own from\n",
     verb_help},
};
const int verb_count = sizeof verbs / sizeof *verbs;

static vt_status find_verb(const char *name, const struct verb **out)
{
    const char *names[sizeof verbs / sizeof *verbs];
    for (int i = 0; i < verb_count; i++) {
        names[i] = verbs[i].name;
        if (strcmp(name, verbs[i].name) == 0) {
            *out = &verbs[i];
            return VT_OK;
        }
    }
    const char *near = text_nearest(name, names, (size_t)verb_count);
    return VT_FAIL(VT_E_USAGE, "unknown verb %.100s%s%s%s; `vitrail help` lists them", name, near ? ", did you mean " : "",
                   near ? near : "", near ? "?" : "");
}

static vt_status dispatch(int argc, char **argv)
{
    const struct verb *verb = NULL;
    if (argc < 2)
        return verb_help(1, argv);
    if (strcmp(argv[1], "--version") == 0) {
        puts(version_line());
        return VT_OK;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return verb_help(1, argv);
    VT_TRY(find_verb(argv[1], &verb));
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            char *help[] = {argv[0], argv[1]};
            return verb_help(2, help);
        }
    return verb->run(argc - 1, argv + 1);
}

/* OpenMP's threads spin for milliseconds at every barrier by default, and take the cores of the loader and communication
 * threads while they do: steps become many times slower on a busy machine. libgomp reads its limit once, before main. */
static void limit_spinning(char **argv)
{
    static char self[4096];
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY"))
        return;
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0)
        return;
    self[length] = 0;
    setenv("GOMP_SPINCOUNT", "2000", 1);
    execv(self, argv); /* on failure: go on as we are, only slower */
}

/* What was printed has arrived, or the command failed: a full disk. A reader that went away (`| head`) has what it wanted. */
static vt_status finish_stdout(void)
{
    struct stat out;
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return VT_OK;
    if (errno == EPIPE || (fstat(STDOUT_FILENO, &out) == 0 && (S_ISFIFO(out.st_mode) || S_ISSOCK(out.st_mode))))
        return VT_OK;
    return VT_FAIL(VT_E_IO, "stdout: cannot write: %s", errno ? strerror(errno) : "some of the output is lost");
}

/* With one of 0, 1, 2 closed, the next file opened gets that number, and what is printed goes into it: a run's own files. */
static void occupy_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            _exit(1); /* nobody could be told */
}

int main(int argc, char **argv)
{
    occupy_standard_streams();
    limit_spinning(argv);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file over the limit is an error of write, as a full disk is */
    stage_register("main");
    vt_status status = dispatch(argc, argv);
    job_tell(status);
    if (status == VT_OK) {
        status = finish_stdout();
        if (status != VT_OK)
            log_error("%s", status_message());
    }
    return status_exit_code(status);
}
