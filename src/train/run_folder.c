#include "train/run_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "train/version.h"

static vt_status lock_folder(struct run_folder *folder)
{
    char path[CONFIG_PATH_BYTES + 16];
    VT_TRY(path_join(path, sizeof path, folder->dir, "lock"));
    folder->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (folder->lock_fd < 0)
        return VT_FAIL(VT_E_IO, "run.dir: cannot write in %s: %s", folder->dir, strerror(errno));
    if (flock(folder->lock_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return VT_FAIL(VT_E_USAGE, "run.dir: %s is in use by another running job, expected a free folder", folder->dir);
    return VT_OK;
}

/* 1 + the highest attempt an env file or checkpoint folder tells of. */
static int next_attempt(const char *dir)
{
    int highest = 0, attempt;
    DIR *handle = opendir(dir);
    for (struct dirent *entry; handle && (entry = readdir(handle));)
        if (sscanf(entry->d_name, "env.attempt-%d.json", &attempt) == 1 && attempt > highest)
            highest = attempt;
    if (handle)
        closedir(handle);
    return highest + 1;
}

/* The job this process belongs to when Slurm has requeued it, else NULL. */
static const char *requeued_job(void)
{
    const char *restarts = getenv("SLURM_RESTART_COUNT");
    return restarts && atoi(restarts) > 0 ? getenv("SLURM_JOB_ID") : NULL;
}

/* The run in dir was begun by this very job, before it was requeued: whatever run.if_exists says, it goes on. */
static bool is_of_job(const char *dir, const char *job)
{
    char path[CONFIG_PATH_BYTES + 16];
    const char *owner = "";
    struct json *env = NULL;
    if (!job || path_join(path, sizeof path, dir, "env.json") != VT_OK || json_parse_file(path, 1 << 24, &env) != VT_OK)
        return false;
    bool same = json_find(env, "slurm_job") && json_get_string(env, path, "slurm_job", &owner) == VT_OK && strcmp(owner, job) == 0;
    json_free(&env);
    return same;
}

static void pick_new_dir(char *dir, size_t bytes)
{
    char base[CONFIG_PATH_BYTES];
    const char *job = requeued_job();
    snprintf(base, sizeof base, "%s", dir);
    for (int i = 2; file_exists(dir) && !is_of_job(dir, job); i++)
        if ((size_t)snprintf(dir, bytes, "%.*s-%d", (int)bytes - 12, base, i) >= bytes)
            return;
}

static vt_status open_on_root(struct run_config *config, struct run_folder *folder)
{
    char *dir = config->run.dir;
    if (config->run.if_exists == CONFIG_IF_EXISTS_NEW)
        pick_new_dir(dir, sizeof config->run.dir);
    char config_path[CONFIG_PATH_BYTES + 16], log_path[CONFIG_PATH_BYTES + 16];
    VT_TRY(path_join(config_path, sizeof config_path, dir, "config.yaml"));
    folder->existed = file_exists(config_path);
    if (folder->existed && config->run.if_exists == CONFIG_IF_EXISTS_FAIL && !is_of_job(dir, requeued_job()))
        return VT_FAIL(VT_E_USAGE, "run.dir: %s holds a run already, and run.if_exists=fail; expected a new folder", dir);
    snprintf(folder->dir, sizeof folder->dir, "%s", dir);
    vt_status status = file_make_dirs(dir);
    if (status != VT_OK)
        return status_prefix(status, "run.dir");
    VT_TRY(lock_folder(folder));
    file_remove_temporaries(dir);
    folder->attempt = next_attempt(dir);
    VT_TRY(path_join(log_path, sizeof log_path, dir, "log.txt"));
    return log_open(log_path);
}

vt_status run_folder_open(struct run_config *config, struct comm *comm, struct run_folder *folder)
{
    *folder = (struct run_folder){.lock_fd = -1};
    vt_status status = comm->rank == 0 ? open_on_root(config, folder) : VT_OK;
    VT_TRY(comm_agree(comm, status));
    int facts[2] = {folder->attempt, folder->existed};
    VT_TRY(comm->broadcast(comm, facts, sizeof facts, 0));
    VT_TRY(comm->broadcast(comm, config->run.dir, sizeof config->run.dir, 0));
    folder->attempt = facts[0];
    folder->existed = facts[1];
    snprintf(folder->dir, sizeof folder->dir, "%s", config->run.dir);
    return path_join(folder->checkpoints, sizeof folder->checkpoints, folder->dir, "checkpoints");
}

void run_folder_close(struct run_folder *folder)
{
    if (folder->lock_fd >= 0)
        close(folder->lock_fd);
    log_close();
    *folder = (struct run_folder){.lock_fd = -1};
}

static struct json *describe(const struct run_folder *folder, const struct comm *comm, const char *backend,
                             const char *device, double flops, const char *hosts)
{
    char stamp[32];
    time_t now = time(NULL);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    struct json *env = json_new_object(), *list = json_new_array();
    json_set_int(env, "attempt", folder->attempt);
    json_set_string(env, "started", stamp);
    if (getenv("SLURM_JOB_ID"))
        json_set_string(env, "slurm_job", getenv("SLURM_JOB_ID"));
    json_set_string(env, "version", version_line());
    json_set_int(env, "ranks", comm->size);
    json_set_string(env, "comm", comm->name);
    json_set_string(env, "backend", backend);
    json_set_string(env, "device", device);
    json_set_double(env, "train_flops_per_image", flops);
    for (int r = 0; r < comm->size; r++)
        json_add_string(list, hosts + (size_t)r * sizeof comm->host);
    json_set(env, "hosts", list);
    return env;
}

static vt_status write_files(const struct run_folder *folder, const struct run_config *config, struct json *env)
{
    char path[CONFIG_PATH_BYTES + 64], name[64];
    char *text = json_to_pretty_text(env), *yaml = run_config_to_text(config);
    vt_status status;
    snprintf(name, sizeof name, "env.attempt-%d.json", folder->attempt);
    VT_TRY_OUT(path_join(path, sizeof path, folder->dir, name));
    VT_TRY_OUT(file_write_atomic(path, text, strlen(text)));
    VT_TRY_OUT(path_join(path, sizeof path, folder->dir, "env.json"));
    VT_TRY_OUT(file_write_atomic(path, text, strlen(text)));
    VT_TRY_OUT(path_join(path, sizeof path, folder->dir, "config.yaml"));
    VT_TRY_OUT(file_write_atomic(path, yaml, strlen(yaml)));
out:
    free(text);
    free(yaml);
    return status;
}

vt_status run_folder_describe(const struct run_folder *folder, const struct run_config *config, struct comm *comm,
                              const char *backend, const char *device, double train_flops_per_image)
{
    /* Every rank adds its host to its own place; the sum is the list. */
    size_t each = sizeof comm->host;
    char *hosts = calloc((size_t)comm->size, each);
    if (!hosts)
        return VT_FAIL(VT_E_MEMORY, "no memory for the list of %d hosts", comm->size);
    memcpy(hosts + (size_t)comm->rank * each, comm->host, each);
    vt_status status = comm->all_reduce(comm, hosts, (int64_t)((size_t)comm->size * each / sizeof(int32_t)), DTYPE_I32, REDUCE_SUM);
    if (status == VT_OK && comm->rank == 0) {
        struct json *env = describe(folder, comm, backend, device, train_flops_per_image, hosts);
        status = write_files(folder, config, env);
        json_free(&env);
    }
    free(hosts);
    return comm_agree(comm, status);
}
