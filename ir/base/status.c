#include "ir/base/status.h"

#include <stdarg.h>
#include <stdio.h>

Status err_set(Err *err, Status status, const char *fmt, ...)
{
    if (err && err->status == NPC_OK) {
        va_list args;
        va_start(args, fmt);
        err->status = status;
        vsnprintf(err->text, sizeof err->text, fmt, args);
        va_end(args);
    }
    return status;
}

int status_exit_code(Status status)
{
    switch (status) {
    case NPC_OK:
        return 0;
    case NPC_ERR_USAGE:
    case NPC_ERR_INPUT:
    case NPC_ERR_IO:
        return 2;
    default:
        return 1;
    }
}
