# What passes, layouts, fusion and the memory plan make, as text and by their rules; the engine.
npc_test(golden passes npc_passes)
foreach(name layout fuse plan)
    npc_test(unit ${name} npc_passes)
endforeach()
npc_test(unit engine npc_runtime)
npc_test(fuzz fuzz_model npc_passes)
