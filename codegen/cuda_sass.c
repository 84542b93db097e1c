/* Machine code as text: the disassembler of the CUDA toolkit, when PATH has it. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codegen/cuda_compile.h"
#include "ir/base/file.h"

static Status run(const char *const *words, Text *out, bool *is_there, Err *err)
{
    int ends[2];
    char part[4096];
    ssize_t n;
    int status = 0;
    if (pipe(ends))
        return err_set(err, NPC_ERR_IO, "cannot start %s", words[0]);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execvp(words[0], (char *const *)words);
        _exit(127);
    }
    close(ends[1]);
    while (child > 0 && (n = read(ends[0], part, sizeof part)) > 0)
        text_add_n(out, part, (size_t)n);
    close(ends[0]);
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return err_set(err, NPC_ERR_IO, "cannot start %s", words[0]);
    *is_there = !WIFEXITED(status) || WEXITSTATUS(status) != 127;
    if (*is_there && status)
        return err_set(err, NPC_ERR_DEVICE, "%s failed on the generated code", words[0]);
    return NPC_OK;
}

static Status disassemble(const char *path, Text *out, Err *err)
{
    const char *const first[] = {"nvdisasm", "--print-code", path, NULL};
    const char *const second[] = {"cuobjdump", "--dump-sass", path, NULL};
    bool is_there;
    NPC_TRY(run(first, out, &is_there, err));
    if (!is_there)
        NPC_TRY(run(second, out, &is_there, err));
    return is_there ? NPC_OK
                    : err_set(err, NPC_ERR_DEVICE,
                              "neither nvdisasm nor cuobjdump of the CUDA toolkit is on PATH: "
                              "machine code cannot be shown; cuda and ptx can");
}

Status cuda_set_sass(const CudaSet *set, Text *out, Err *err)
{
    const char *temporary = getenv("TMPDIR");
    for (int i = 0; i < cuda_set_n_units(set); i++) {
        const CodeObject *cubin = cuda_set_cubin(set, i);
        char path[4096];
        snprintf(path, sizeof path, "%.4000s/npc-XXXXXX",
                 temporary && *temporary ? temporary : "/tmp");
        int fd = mkstemp(path);
        if (fd < 0)
            return err_set(err, NPC_ERR_IO, "%s: cannot make a temporary file", path);
        close(fd);
        Status s = file_write(path, cubin->data, cubin->bytes, err);
        if (s == NPC_OK)
            s = disassemble(path, out, err);
        unlink(path);
        NPC_TRY(s);
    }
    return NPC_OK;
}
