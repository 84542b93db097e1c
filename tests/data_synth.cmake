# Random numbers, scores, film hashes, synthetic recordings.
foreach(name philox metrics video_hash synth)
    npc_test(unit ${name} npc_runtime)
endforeach()
