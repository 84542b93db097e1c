npc_test(ops tile_codegen npc_codegen)
