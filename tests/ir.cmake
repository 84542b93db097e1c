npc_test(ops gradients npc_ir)
