/* Which statement may stand where; the grammar itself takes them all, for better messages. */
#ifndef NPC_FRONTEND_CHECK_H
#define NPC_FRONTEND_CHECK_H

#include "frontend/ast.h"

typedef enum CheckPlace {
    CHECK_BLOCK,  /* a block, a model, a part, a replaced part */
    CHECK_RECIPE, /* settings and stages */
    CHECK_STAGE,  /* settings */
    CHECK_VARIANT /* replacements */
} CheckPlace;

/* Walks the body; statements out of place are reported and become STMT_ERROR. */
void check_body(Diags *diags, Body *body, CheckPlace place);
void check_variant(Diags *diags, Decl *variant);

#endif
