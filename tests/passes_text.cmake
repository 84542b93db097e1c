# What passes, layouts, fusion and the memory plan make, as text and by their rules; the engine.
npc_test(golden passes npc_passes)
npc_test(unit layout npc_passes)
npc_test(unit fuse npc_passes)
npc_test(unit plan npc_passes npc_random_graph)
npc_test(unit engine npc_runtime)
npc_test(fuzz fuzz_model npc_passes npc_ir)
npc_test(models plan_bytes npc_passes npc_codegen)
npc_test(unit loss_scale npc_runtime)
