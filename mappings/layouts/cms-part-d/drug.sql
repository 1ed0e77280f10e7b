-- RxNorm's names are those of its own terms; synonyms and brands come from the others.
with known as (
    select
        RXCUI,
        min(STR) filter (where TTY in ('SCD', 'SBD', 'GPCK', 'BPCK')) as name,
        string_agg(distinct replace(STR, ';', ','), ';' order by replace(STR, ';', ','))
            filter (where TTY in ('SY', 'BN')) as synonyms
    from names
    where SAB = 'RXNORM'
    group by RXCUI
)

select
    drugs.RXCUI as drug_id,
    drugs.RXCUI as rxnorm_code,
    any_value(known.name) as name,
    any_value(known.synonyms) as synonyms,
    string_agg(distinct 'http://hl7.org/fhir/sid/ndc|' || NDC, ';' order by 'http://hl7.org/fhir/sid/ndc|' || NDC) as other_codes,
    min_by(drugs._file, drugs._row) as _file,
    min(drugs._row) as _row
from drugs
left join known on known.RXCUI = drugs.RXCUI
group by drugs.RXCUI
