npc_test(unit tile npc_ir)
npc_test(unit workers npc_runtime)
npc_test(ops tile_codegen npc_codegen)
