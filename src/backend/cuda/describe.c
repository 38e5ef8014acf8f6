/* What is found at run time besides what the plugin is linked to: the driver, cuDNN, NCCL. For the preflight; loads both. */
#include <cuda_runtime.h>
#include <stdio.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/cudnn_api.h"

/* The driver's own number, "580.65.06": the runtime only tells which CUDA it is made for. */
static void driver_release(char *text, size_t bytes)
{
    FILE *file = fopen("/sys/module/nvidia/version", "r");
    text[0] = '\0';
    if (!file)
        return;
    if (!fgets(text, (int)bytes, file))
        text[0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    fclose(file);
}

static void describe_driver(char *text, size_t bytes)
{
    char release[48];
    int cuda = 0;
    driver_release(release, sizeof release);
    (void)cudaDriverGetVersion(&cuda);
    if (cuda == 0)
        snprintf(text, bytes, "no driver");
    else
        snprintf(text, bytes, "driver %s%sfor CUDA %d.%d", release, release[0] ? " " : "", cuda / 1000, cuda % 1000 / 10);
}

void cuda_describe(char *text, size_t bytes)
{
    char driver[96], cudnn[64] = "no cuDNN", nccl[32] = "no NCCL";
    describe_driver(driver, sizeof driver);
    const bool usable = cudnn_load() == VT_OK;
    const size_t found = cudnn_version(); /* 91900 is 9.19.0 */
    if (found)
        snprintf(cudnn, sizeof cudnn, usable ? "cuDNN %zu.%zu.%zu" : "no cuDNN (%zu.%zu.%zu is too old)", found / 10000,
                 found / 100 % 100, found % 100);
    int version = comm_nccl_version(); /* 22809 is 2.28.9 */
    if (version)
        snprintf(nccl, sizeof nccl, "NCCL %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
    snprintf(text, bytes, "%s, %s, %s", driver, cudnn, nccl);
}
