# From .nm text to the graph IR: models against published numbers, parameters, recipes, messages.
npc_test(models golden_eval npc_ir npc_runtime)
npc_test(unit elaborate npc_ir npc_runtime)
npc_test(unit recurrent npc_ir npc_runtime)
npc_test(unit recipe npc_ir)
npc_test(diag diag_elaborate npc_ir)
npc_test(fuzz fuzz_elaborate npc_ir)
