/* A stand-in for libnvrtc.so.13: kernels become a shared library for the host (nvrtc_text.c,
 * nvrtc_translate.c). Options are checked as the real one does; those that only concern a device
 * change nothing. */
#include "tests/sim/nvrtc.h"
#include "tests/sim/image.h"
#include "tests/sim/sim_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIM_API __attribute__((visibility("default")))

typedef enum nvrtcResult {
    NVRTC_SUCCESS = 0,
    NVRTC_ERROR_OUT_OF_MEMORY = 1,
    NVRTC_ERROR_PROGRAM_CREATION_FAILURE = 2,
    NVRTC_ERROR_INVALID_INPUT = 3,
    NVRTC_ERROR_INVALID_PROGRAM = 4,
    NVRTC_ERROR_INVALID_OPTION = 5,
    NVRTC_ERROR_COMPILATION = 6,
    NVRTC_ERROR_INTERNAL_ERROR = 11,
} nvrtcResult;

typedef struct _nvrtcProgram {
    char *text, *name;
    Bytes log, cubin, ptx;
} * nvrtcProgram;

SIM_API const char *nvrtcGetErrorString(nvrtcResult r);
SIM_API nvrtcResult nvrtcVersion(int *major, int *minor);
SIM_API nvrtcResult nvrtcGetNumSupportedArchs(int *n);
SIM_API nvrtcResult nvrtcGetSupportedArchs(int *archs);
SIM_API nvrtcResult nvrtcCreateProgram(nvrtcProgram *program, const char *text, const char *name,
                                       int n_headers, const char *const *headers,
                                       const char *const *names);
SIM_API nvrtcResult nvrtcDestroyProgram(nvrtcProgram *program);
SIM_API nvrtcResult nvrtcCompileProgram(nvrtcProgram program, int n, const char *const *options);
SIM_API nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram program, size_t *bytes);
SIM_API nvrtcResult nvrtcGetProgramLog(nvrtcProgram program, char *log);
SIM_API nvrtcResult nvrtcGetCUBINSize(nvrtcProgram program, size_t *bytes);
SIM_API nvrtcResult nvrtcGetCUBIN(nvrtcProgram program, char *cubin);
SIM_API nvrtcResult nvrtcGetPTXSize(nvrtcProgram program, size_t *bytes);
SIM_API nvrtcResult nvrtcGetPTX(nvrtcProgram program, char *ptx);

SIM_API const char *nvrtcGetErrorString(nvrtcResult r)
{
    switch (r) {
    case NVRTC_SUCCESS:
        return "NVRTC_SUCCESS";
    case NVRTC_ERROR_OUT_OF_MEMORY:
        return "NVRTC_ERROR_OUT_OF_MEMORY";
    case NVRTC_ERROR_PROGRAM_CREATION_FAILURE:
        return "NVRTC_ERROR_PROGRAM_CREATION_FAILURE";
    case NVRTC_ERROR_INVALID_INPUT:
        return "NVRTC_ERROR_INVALID_INPUT";
    case NVRTC_ERROR_INVALID_PROGRAM:
        return "NVRTC_ERROR_INVALID_PROGRAM";
    case NVRTC_ERROR_INVALID_OPTION:
        return "NVRTC_ERROR_INVALID_OPTION";
    case NVRTC_ERROR_COMPILATION:
        return "NVRTC_ERROR_COMPILATION";
    case NVRTC_ERROR_INTERNAL_ERROR:
        return "NVRTC_ERROR_INTERNAL_ERROR";
    }
    return "NVRTC_ERROR unknown";
}

SIM_API nvrtcResult nvrtcVersion(int *major, int *minor)
{
    if (sim_env_fails("nvrtcVersion"))
        return NVRTC_ERROR_INVALID_INPUT;
    *major = 13;
    *minor = 0;
    return NVRTC_SUCCESS;
}

static const int ARCHS[] = {75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121};
enum { N_ARCHS = sizeof ARCHS / sizeof ARCHS[0] };

SIM_API nvrtcResult nvrtcGetNumSupportedArchs(int *n)
{
    *n = N_ARCHS;
    return NVRTC_SUCCESS;
}

SIM_API nvrtcResult nvrtcGetSupportedArchs(int *archs)
{
    memcpy(archs, ARCHS, sizeof ARCHS);
    return NVRTC_SUCCESS;
}

SIM_API nvrtcResult nvrtcCreateProgram(nvrtcProgram *program, const char *text, const char *name,
                                       int n_headers, const char *const *headers,
                                       const char *const *names)
{
    (void)headers, (void)names;
    if (sim_env_fails("nvrtcCreateProgram"))
        return NVRTC_ERROR_PROGRAM_CREATION_FAILURE;
    if (!program || !text || n_headers) /* headers: generated text needs none */
        return NVRTC_ERROR_INVALID_INPUT;
    nvrtcProgram p = calloc(1, sizeof *p);
    if (!p || !(p->text = strdup(text)) || !(p->name = strdup(name ? name : "default_program")))
        return NVRTC_ERROR_OUT_OF_MEMORY;
    bytes_add(&p->log, "", 0);
    *program = p;
    return NVRTC_SUCCESS;
}

SIM_API nvrtcResult nvrtcDestroyProgram(nvrtcProgram *program)
{
    nvrtcProgram p = program ? *program : NULL;
    if (!p)
        return NVRTC_ERROR_INVALID_PROGRAM;
    bytes_free(&p->log);
    bytes_free(&p->cubin);
    bytes_free(&p->ptx);
    free(p->text);
    free(p->name);
    free(p);
    *program = NULL;
    return NVRTC_SUCCESS;
}

/* "--gpu-architecture=sm_90": 90; 0 when it is another option, -1 when it is a wrong one. */
static int architecture(const char *option)
{
    static const char *const name[] = {"--gpu-architecture=", "-arch="};
    for (int i = 0; i < 2; i++) {
        size_t len = strlen(name[i]);
        if (strncmp(option, name[i], len))
            continue;
        const char *sm = option + len;
        char *end;
        if (strncmp(sm, "sm_", 3))
            return -1;
        long n = strtol(sm + 3, &end, 10);
        if (*end == 'a' || *end == 'f')
            end++;
        for (int k = 0; k < N_ARCHS; k++)
            if (n == ARCHS[k] && !*end)
                return (int)n;
        return -1;
    }
    return 0;
}

/* Options that concern a device only; those ending in '=' take any value. */
static bool is_ignored(const char *option)
{
    static const char *const known[] = {"--fmad=",
                                        "-fmad=",
                                        "--ftz=",
                                        "-ftz=",
                                        "--prec-sqrt=",
                                        "-prec-sqrt=",
                                        "--prec-div=",
                                        "-prec-div=",
                                        "--std=",
                                        "-std=",
                                        "--ptxas-options=",
                                        "-Xptxas=",
                                        "--maxrregcount=",
                                        "-maxrregcount=",
                                        "--minimal",
                                        "-minimal",
                                        "--split-compile=",
                                        "-split-compile=",
                                        "--device-as-default-execution-space",
                                        "-default-device",
                                        "--extra-device-vectorization",
                                        "-lineinfo",
                                        "--generate-line-info",
                                        "--restrict",
                                        "-restrict",
                                        "--device-debug",
                                        "-G",
                                        "--no-source-include",
                                        "-no-source-include",
                                        "--disable-warnings",
                                        "-w",
                                        "--dopt=on",
                                        "-dopt=on",
                                        "--modify-stack-limit=",
                                        NULL};
    for (int i = 0; known[i]; i++) {
        size_t len = strlen(known[i]);
        if (known[i][len - 1] == '=' ? !strncmp(option, known[i], len) : !strcmp(option, known[i]))
            return true;
    }
    return false;
}

/* What of the options the host's compiler needs. */
static nvrtcResult read_options(nvrtcProgram p, int n, const char *const *options, Bytes *for_host,
                                int *capability)
{
    bytes_add(for_host, "", 0);
    for (int i = 0; i < n; i++) {
        const char *o = options[i], *define = strstr(o, "-D") == o ? o + 2 : NULL;
        int arch = architecture(o);
        if (!strncmp(o, "--define-macro=", 15))
            define = o + 15;
        if (arch < 0) {
            bytes_print(&p->log, "nvrtc: error: invalid value for --gpu-architecture (-arch)\n");
            return NVRTC_ERROR_INVALID_OPTION;
        }
        if (arch)
            *capability = arch;
        else if (define)
            bytes_print(for_host, " -D%s", define);
        else if (!is_ignored(o)) {
            bytes_print(&p->log, "nvrtc: error: unrecognized option %s found\n", o);
            return NVRTC_ERROR_INVALID_OPTION;
        }
    }
    if (!*capability) {
        bytes_print(&p->log, "npc sim: --gpu-architecture=sm_NN is missing\n");
        return NVRTC_ERROR_INVALID_OPTION;
    }
    bytes_print(for_host, " -D__CUDA_ARCH__=%d0", *capability);
    return NVRTC_SUCCESS;
}

static void make_image(nvrtcProgram p, const Bytes *library, int capability)
{
    SimImage head = {.magic = SIM_IMAGE_MAGIC,
                     .capability = (uint32_t)capability,
                     .bytes = library->len,
                     .text_bytes = strlen(p->text) + 1};
    p->cubin.len = p->ptx.len = 0;
    bytes_add(&p->cubin, &head, sizeof head);
    bytes_add(&p->cubin, library->at, library->len);
    bytes_add(&p->cubin, p->text, head.text_bytes);
    head.check = sim_image_check((const unsigned char *)p->cubin.at + sizeof head,
                                 head.bytes + head.text_bytes);
    memcpy(p->cubin.at, &head, sizeof head);
    bytes_print(&p->ptx,
                "// The simulator compiles for the host: there is no PTX.\n.target sm_%d\n",
                capability);
}

SIM_API nvrtcResult nvrtcCompileProgram(nvrtcProgram p, int n, const char *const *options)
{
    Bytes for_host = {0}, c = {0}, names = {0}, library = {0};
    int capability = 0;
    if (!p)
        return NVRTC_ERROR_INVALID_PROGRAM;
    p->log.len = 0;
    if (sim_env_fails("nvrtcCompileProgram")) {
        bytes_print(&p->log, "npc sim: told to fail\n");
        return NVRTC_ERROR_COMPILATION;
    }
    nvrtcResult r = read_options(p, n, options, &for_host, &capability);
    if (!r) {
        nvrtc_write_c(&c, p->text, p->name, &names);
        if (nvrtc_translate(&c, for_host.at, &library, &p->log) &&
            nvrtc_check_shared(&library, &names, &p->log))
            make_image(p, &library, capability);
        else
            r = NVRTC_ERROR_COMPILATION;
    }
    bytes_free(&for_host);
    bytes_free(&c);
    bytes_free(&names);
    bytes_free(&library);
    return r;
}

/* Sizes of texts count the NUL. */
static nvrtcResult give_size(const char *call, nvrtcProgram p, const Bytes *b, size_t extra,
                             size_t *bytes)
{
    if (sim_env_fails(call))
        return NVRTC_ERROR_INTERNAL_ERROR;
    if (!p || !b->at)
        return NVRTC_ERROR_INVALID_PROGRAM;
    *bytes = b->len + extra;
    return NVRTC_SUCCESS;
}

static nvrtcResult give(const char *call, nvrtcProgram p, const Bytes *b, size_t extra, char *to)
{
    size_t bytes;
    nvrtcResult r = give_size(call, p, b, extra, &bytes);
    if (!r)
        memcpy(to, b->at, bytes);
    return r;
}

SIM_API nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram p, size_t *bytes)
{
    return give_size("nvrtcGetProgramLogSize", p, &p->log, 1, bytes);
}

SIM_API nvrtcResult nvrtcGetProgramLog(nvrtcProgram p, char *log)
{
    return give("nvrtcGetProgramLog", p, &p->log, 1, log);
}

SIM_API nvrtcResult nvrtcGetCUBINSize(nvrtcProgram p, size_t *bytes)
{
    return give_size("nvrtcGetCUBINSize", p, &p->cubin, 0, bytes);
}

SIM_API nvrtcResult nvrtcGetCUBIN(nvrtcProgram p, char *cubin)
{
    return give("nvrtcGetCUBIN", p, &p->cubin, 0, cubin);
}

SIM_API nvrtcResult nvrtcGetPTXSize(nvrtcProgram p, size_t *bytes)
{
    return give_size("nvrtcGetPTXSize", p, &p->ptx, 1, bytes);
}

SIM_API nvrtcResult nvrtcGetPTX(nvrtcProgram p, char *ptx)
{
    return give("nvrtcGetPTX", p, &p->ptx, 1, ptx);
}
