# %% [markdown]
# # tilbench from Python
# Train a tiny model, score it beside its untrained self, compare the two, and read and write text with it. The cells
# take about half a minute on two cores. docs/python.md explains the functions.

# %% Train a model on the sample text
import tilbench

run = tilbench.train("til-mini-1b:tiny", "runs/notebook", overrides={"recipe.steps": 40})
print(run.log[["step", "loss", "lr"]].tail(3))

# %% Score it on a suite: one row per model, task and value
frame = tilbench.run_suite("five-domain", [run, "runs/notebook@0"], out="records-notebook", limit=6)
done = frame[frame["headline"] & (frame["status"] == "done")]
print(done.pivot(index="task", columns="model", values="value"))

# %% Which of the two is better, and can it be believed?
report = tilbench.compare("records-notebook", "runs/notebook", "runs/notebook@0")
print(report)
print(report.to_frame()[["task", "difference", "low", "high", "p_holm", "winner"]])

# %% Ask a model directly
model = tilbench.open_model(run)
print(model.bits_per_byte("Бүгін ауа райы жақсы."))
print(model.logprobs(["жақсы", "кітап"], after="Бүгін ауа райы "))
print(model.generate("Бүгін ауа райы", max_new_tokens=20).text)

# %% Records are files: read them whenever you like
print(tilbench.read_records("records-notebook").groupby("task")["value"].count())
